"""Coarse to fine against one resolution: the shipped registration network, predicting at four levels or at the finest alone.

    python benchmarks/coarse_to_fine.py synthesised runs/coarse-to-fine --epochs 10

Both begin from random weights with one seed and train for about the same time: a step takes half as long where the deeper levels
predict nothing, so that network takes twice as many. Then each registers the validation pairs in one pass, as they lie and with
the moving scan shifted along each axis, both ways: mean Dice of 13 organs and its standard deviation over the pairs, SdLogJ and
folds on the 8 mm label maps. How long a step takes is told first. ``data`` is a folder in the Learn2Reg layout or of ``mics
synthesise``. An unfinished training goes on, a finished one is not begun again.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mics.deformation.field import warp
from mics.deformation.jacobian import fold_share
from mics.evaluation.metrics import dice, sd_log_jacobian
from mics.image.intensity import hu_windows
from mics.network.config import NetworkConfig
from mics.network.pair import RegistrationNetwork
from mics.network.precision import half_precision
from mics.network.presets import PRESETS
from mics.network.weights import LoadedModel, load_model
from mics.organs import ORGAN_NAMES
from mics.training.cache import CachedCase, read_cases, split
from mics.training.cases import prepare
from mics.training.datamodule import Cases
from mics.training.recipe import Recipe, load_recipe
from mics.training.registration import RegistrationTraining
from mics.training.run import train
from mics.training.samples import collate

SHIFTS_MM = (0, 24, 40)


@dataclass(frozen=True)
class Variant:
    """A network, and how many iterations it has for one of the coarse-to-fine network's."""

    network: NetworkConfig
    iterations: int


_VELOCITY = PRESETS["velocity"]
VARIANTS = {
    "64, 32, 16 and 8 mm": Variant(_VELOCITY, 1),
    "8 mm alone": Variant(_VELOCITY.model_copy(update={"velocity_levels": 1}), 2),
}


@dataclass(frozen=True)
class Subject:
    """A validation case as the network takes it: ``windows`` (1, 3, X, Y, Z), ``maps`` and ``labels`` likewise."""

    windows: Tensor
    maps: Tensor
    labels: Tensor

    @classmethod
    def of(cls, case: CachedCase, hu_range: tuple[float, float] | None) -> "Subject":
        """Read from the cache."""
        assert case.maps is not None
        hu, labels, maps = (torch.from_numpy(array.copy()).float() for array in (case.hu, case.labels, case.maps))
        return cls(hu_windows(hu[None, None], hu_range), maps[None] / 255, labels[None, None])

    def shifted(self, axis: int, voxels: float) -> "Subject":
        """By so many voxels along an axis; what comes in from outside repeats the border, without organs."""
        displacement = torch.zeros_like(self.windows)
        displacement[:, axis] = -voxels
        return Subject(
            warp(self.windows, displacement),
            warp(self.maps, displacement, padding="zeros"),
            warp(self.labels, displacement, mode="nearest", padding="zeros"),
        )


def recipe_of(name: str, variant: Variant, epochs: int) -> Recipe:
    """The shipped recipe for that network."""
    preset = f"velocities at {name}"
    PRESETS.register(preset, variant.network)
    recipe = load_recipe("velocity", [f"epochs={epochs * variant.iterations}"])
    return recipe.model_copy(update={"preset": preset})


def seconds_a_step(recipe: Recipe, cache: Path, steps: int = 7) -> float:
    """The median of so many losses and their gradients."""
    module = RegistrationTraining(recipe)
    seconds = []
    for batch in islice(Cases(read_cases(cache), recipe).train_dataloader(), steps):
        sample = collate(batch)
        start = time.perf_counter()
        with half_precision("cpu"):
            loss, *_ = module.loss(sample)
        loss.backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def trained(recipe: Recipe, cache: Path, run: Path) -> LoadedModel:
    """The trained network."""
    if not (run / "model.safetensors").exists():
        train(recipe, cache, run, resume=(run / "last.ckpt").exists(), progress=False)
    return load_model(run / "model.safetensors")


@torch.no_grad()
def scores(model: LoadedModel, cases: list[CachedCase], shift_mm: float) -> Iterator[list[float]]:
    """Dice, SdLogJ and folds of every ordered pair, means over the six directions in which the moving scan is shifted."""
    network = cast(RegistrationNetwork, model.network)
    shifts = [(axis, sign * shift_mm / model.spacing_mm) for axis in range(3) for sign in (1, -1)]
    for moving, fixed in permutations([Subject.of(case, model.hu_range) for case in cases], 2):
        found = []
        for axis, voxels in shifts if shift_mm else shifts[:1]:
            source = moving.shifted(axis, voxels)
            pair = (network.network_input(subject.windows, subject.maps) for subject in (source, fixed))
            displacement = network(*pair, steps=1).displacement_ab
            warped = warp(source.labels, displacement, mode="nearest", padding="zeros")
            target, moved = (labels[0, 0].int().numpy() for labels in (fixed.labels, warped))
            overlap = statistics.fmean(dice(target, moved, ORGAN_NAMES).values())
            found.append([overlap, sd_log_jacobian(displacement[0].numpy()), fold_share(displacement)])
        yield [statistics.fmean(column) for column in zip(*found, strict=True)]


def main() -> None:
    """Train what is missing, then print a line a network and shift."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of mics synthesise, or in the Learn2Reg layout")
    parser.add_argument("output", type=Path, help="folder for the runs")
    parser.add_argument(
        "--epochs", type=int, default=10, help="of the coarse-to-fine network, a hundred iterations each"
    )
    parser.add_argument("--only", choices=VARIANTS, help="one of the networks, to train both side by side")
    options = parser.parse_args()
    cache = options.output / "cases"
    prepare(options.data, cache, load_recipe("velocity").spacing_mm, organ_maps=load_recipe("velocity").organs_model)
    print("| velocities at | shifted by, mm | Dice | SdLogJ | J ≤ 0, % |\n|---|---|---|---|---|", flush=True)
    for name, variant in VARIANTS.items():
        if options.only not in (None, name):
            continue
        run = options.output / name.replace(" ", "-").replace(",", "")
        recipe = recipe_of(name, variant, options.epochs)
        print(
            f"{name}: {seconds_a_step(recipe, cache):.2f} s a step, {recipe.epochs} epochs", file=sys.stderr, flush=True
        )
        model = trained(recipe, cache, run)
        for shift_mm in SHIFTS_MM:
            overlaps, spreads, folds = zip(*scores(model, split(read_cases(cache), "val"), shift_mm), strict=True)
            print(
                f"| {name} | {shift_mm} | {statistics.fmean(overlaps):.3f} ± {statistics.stdev(overlaps):.3f} "
                f"| {statistics.fmean(spreads):.3f} | {100 * statistics.fmean(folds):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
