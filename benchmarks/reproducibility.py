"""How far apart registrations of one pair end that differ in nothing but threads, precision, device or who is called fixed.

    python benchmarks/reproducibility.py AbdomenCTCT                      # the first validation pair
    python benchmarks/reproducibility.py AbdomenCTCT --pairs 3 --refine accurate

The reference runs in float32 on one CPU thread. Printed are the mean, the 99th percentile and the largest distance in mm
between a run's displacement and the reference's, within the body, both directions. ``as a whole``: of ``mics.register``, over
the scans' own voxels. Then, from one affine and over voxels of 3 mm, of its stages (organ maps, network, refinement, inverse):
of the network alone, and refined. ``same start``: refined, but from the reference's organ maps and prediction, so that only the
refinement can be at fault. With the scans exchanged, what comes out is exchanged again. A GPU is tried where there is one. In
bfloat16, a CPU without instructions for it takes minutes.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import mics
from mics.allocator import keep_freed_memory
from mics.data.pairs import read_pairs
from mics.deformation.field import resize, resize_displacement
from mics.deformation.transform import Transform
from mics.image.intensity import hu_windows
from mics.network.displacements import Both
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.inputs import Scan, load_pair
from mics.registration.organ_affine import register_affine_by_organs
from mics.registration.pair import Pair
from mics.registration.refine_settings import EFFORTS, RefineSettings
from mics.registration.settings import Settings, resolve
from mics.registration.stage import Stage, State
from mics.registration.stages.affine import Affine
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.inverse_consistency import InverseConsistency
from mics.registration.stages.network_prediction import NetworkPrediction
from mics.registration.stages.organ_maps import OrganMaps
from mics.registration.stages.resampling import Resampling

_TISSUE = 0.15
"""Of the abdominal window: brighter than air, and than most fat."""
_HU_RANGE = (-125.0, 275.0)


@dataclass(frozen=True)
class Way:
    """How a run goes."""

    device: str = "cpu"
    threads: int = 1
    half: bool = False
    exchanged: bool = False
    """Whether the fixed scan is called moving, and the moving one fixed."""


WAYS = {
    "2 threads": Way(threads=2),
    "bfloat16": Way(half=True),
    "GPU, float32": Way("cuda"),
    "GPU, bfloat16": Way("cuda", half=True),
    "exchanged": Way(exchanged=True),
}


@dataclass(frozen=True)
class Run:
    """What one way makes of a pair, on the CPU."""

    volumes: Both
    organs: Both
    network: Both
    refined: Both

    def exchanged(self) -> "Run":
        """The same with the other scan called fixed."""
        return Run(*(both[::-1] for both in (self.volumes, self.organs, self.network, self.refined)))


@contextmanager
def going(way: Way) -> Iterator[None]:
    """Threads and precision as ``way`` says."""
    before = torch.get_num_threads()
    torch.set_num_threads(way.threads)
    try:
        with patch("mics.network.precision.half_precision_pays", lambda _: way.half):
            yield
    finally:
        torch.set_num_threads(before)


def run(
    scans: Pair[Scan],
    affine: np.ndarray,
    settings: Settings,
    refinement: RefineSettings,
    way: Way,
    start: Run | None = None,
) -> Run:
    """Everything, or the refinement alone of the run ``start``'s organ maps and prediction."""
    assert settings.segmentation is not None
    if way.exchanged:
        scans, affine = Pair(fixed=scans.moving, moving=scans.fixed), np.linalg.inv(affine)
        start = None if start is None else start.exchanged()
    state = State(scans=scans, device=torch.device(way.device))
    stages: list[Stage] = [
        Affine(matrix=affine, spacing_mm=settings.model.spacing_mm),
        Resampling(model=settings.model, segmentation=settings.segmentation),
        OrganMaps(model=settings.segmentation),
        NetworkPrediction(model=settings.model, steps=settings.steps),
    ]
    with going(way):
        for stage in stages:
            state = stage.run(state)
        if start is not None:
            organs, (there, back) = (
                tuple(one.to(state.device) for one in both) for both in (start.organs, start.network)
            )
            views = replace(state.views, organs=Pair(moving=organs[0], fixed=organs[1]))
            state = replace(state, organ_views=views).with_displacements(moving_to_fixed=there, fixed_to_moving=back)
        refined = InverseConsistency().run(InstanceOptimisation(refinement).run(state))
    found = Run(*(tuple(one.cpu() for one in both) for both in (*_views(state), _field(state), _field(refined))))
    return found.exchanged() if way.exchanged else found


def as_a_whole(scans: Pair[Scan], refine: str, model: str, way: Way) -> tuple[Transform, Transform]:
    """Both transforms of a registration, whose affine is computed in this way too."""
    fixed, moving = (scans.moving, scans.fixed) if way.exchanged else (scans.fixed, scans.moving)
    with going(way):
        result = mics.register(fixed.image, moving.image, refine=refine, model=model, device=way.device)
    there, back = result.moving_to_fixed, result.fixed_to_moving
    return (back, there) if way.exchanged else (there, back)


def wholly_apart(ours: tuple[Transform, ...], theirs: tuple[Transform, ...], scans: Pair[Scan]) -> Tensor:
    """Distances in mm of both transforms within the body, ``(N,)``."""
    found = []
    for one, other, scan in zip(ours, theirs, (scans.fixed, scans.moving), strict=True):
        hu = torch.from_numpy(np.ascontiguousarray(scan.image.array))[None, None]
        body = _body(hu_windows(hu, _HU_RANGE))[0, 0].numpy()
        found.append(np.linalg.norm(one.displacement_mm[body] - other.displacement_mm[body], axis=-1))
    return torch.from_numpy(np.concatenate(found))


def _body(windows: Tensor) -> Tensor:
    """Where HU windows (1, 3, X, Y, Z) show the body, averaged over cubes: gas within the bowel belongs to it, the table not."""
    return functional.avg_pool3d((windows[:, :1] > _TISSUE).float(), 5, 1, 2) > 0.5


def _views(state: State) -> tuple[Both, Both]:
    windows, organs = state.views.windows, state.views.organs
    return (windows.moving, windows.fixed), (organs.moving, organs.fixed)


def _field(state: State) -> Both:
    return state.field.moving_to_fixed, state.field.fixed_to_moving


def apart(ours: Both, theirs: Both, volumes: Both, spacing_mm: float) -> Tensor:
    """Distances in mm of both directions within the body, ``(N,)``; moving to fixed lies on the fixed scan's body."""
    found = []
    for one, other, window in zip(ours, theirs, reversed(volumes), strict=True):
        shape = window.shape[2:]
        size = [round((n - 1) * spacing_mm / 3) + 1 for n in shape]
        body = resize(_body(window).float(), size)[0, 0] > 0.5
        difference = resize_displacement(one, size) - resize_displacement(other, size)
        found.append(difference[0].norm(dim=0)[body] * (spacing_mm * (shape[0] - 1) / (size[0] - 1)))
    return torch.cat(found)


def row(distances: Tensor) -> str:
    """Mean, 99th percentile, largest."""
    return f"{distances.mean():.3f}, {np.quantile(distances.numpy(), 0.99):.2f}, {distances.max():.1f}"


def main() -> None:
    """Print a line a pair and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("--pairs", type=int, default=1, help="how many validation pairs (default: %(default)s)")
    parser.add_argument("--refine", choices=EFFORTS, default="fast")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", default=DEFAULT_REGISTRATION)
    arguments = parser.parse_args()
    keep_freed_memory()
    settings = resolve(
        affine="organs", steps=None, model=arguments.model, refine=arguments.refine, topology="free", device="cpu"
    )
    assert settings.segmentation is not None
    ways = [name for name in arguments.ways if WAYS[name].device == "cpu" or torch.cuda.is_available()]
    print(
        f"| pair | differs in | as a whole, mm | network, mm | refined, mm | refined, same start |\n{'|---' * 6}|",
        flush=True,
    )
    for listed in list(read_pairs(arguments.data, needs=("image",)))[: arguments.pairs]:
        scans, _ = load_pair(fixed=listed.fixed.image(), moving=listed.moving.image())
        affine = register_affine_by_organs(fixed=scans.fixed.image, moving=scans.moving.image)
        refinement, spacing = EFFORTS[arguments.refine], settings.segmentation.spacing_mm
        reference = run(scans, affine, settings, refinement, Way())
        whole_reference = as_a_whole(scans, arguments.refine, arguments.model, Way())
        for name in ways:
            whole = as_a_whole(scans, arguments.refine, arguments.model, WAYS[name])
            measured = [row(wholly_apart(whole, whole_reference, scans))]
            other, same = (run(scans, affine, settings, refinement, WAYS[name], start) for start in (None, reference))
            measured += (
                row(apart(ours, theirs, reference.volumes, spacing))
                for ours, theirs in (
                    (other.network, reference.network),
                    (other.refined, reference.refined),
                    (same.refined, reference.refined),
                )
            )
            title = f"{listed.moving.name} to {listed.fixed.name}"
            print(f"| {title} | {name} | {' | '.join(measured)} |", flush=True)


if __name__ == "__main__":
    main()
