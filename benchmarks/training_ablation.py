"""What each part of the training brings: the same short training with one part changed, judged on the validation pairs.

    python benchmarks/training_ablation.py AbdomenCTCT runs/ablation
    python benchmarks/training_ablation.py AbdomenCTCT runs/ablation --synthesised synthesised --epochs 4
    python benchmarks/training_ablation.py AbdomenCTCT runs/people --synthesised synthesised --epochs 10 --seeds 1 2 \
        --only "down to 8 mm" "down to 8 mm, with synthesised subjects"

All variants begin from random weights with one seed, take as many iterations on whole 8 mm volumes in one step, and are scored
after the last epoch, when the learning rate has decayed: mean Dice of 13 organs, SdLogJ and folds on the 8 mm label maps.
``--synthesised`` is a folder of ``mics synthesise`` made from the same data; without it the variants that need it are left out.
With several ``--seeds`` there is a line for each. A finished variant is not trained again.
"""

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from runs import last_validation

from mics.network.config import NetworkConfig
from mics.network.mics import MICSConfig
from mics.network.presets import PRESETS
from mics.training.cases import prepare
from mics.training.recipe import load_recipe
from mics.training.run import train

_FULL = PRESETS["velocity-small"]
_VELOCITY = PRESETS["velocity"]
_PHANTOMS = "phantom:64"
_STILL = ("augmentation.probability=0", "augmentation.mirror_probability=0")


@dataclass(frozen=True)
class Variant:
    """A network, what it is trained on (``DATA``: the folder given), what is set otherwise, and what it starts from."""

    network: NetworkConfig = _FULL
    data: str = "DATA"
    settings: tuple[str, ...] = ()
    initial: str | None = None


_PRETRAINED = "pretrained on phantoms"
VARIANTS = {
    "velocities at 64, 32 and 16 mm": Variant(),
    "velocities at 16 mm alone": Variant(_FULL.model_copy(update={"velocity_levels": 1})),
    "gradients at 16 mm, as in the paper": Variant(
        MICSConfig(channels=(32, 64, 128), stride=2, decoder_normalisation=False, organ_maps=True),
        settings=("losses.inverse=0.02",),
    ),
    "no organ maps": Variant(_FULL.model_copy(update={"organ_maps": False})),
    "no augmentation": Variant(settings=_STILL),
    "with synthesised subjects": Variant(data="SYNTHESISED"),
    _PRETRAINED: Variant(data=_PHANTOMS),
    "from weights trained on phantoms": Variant(initial=_PRETRAINED),
    "down to 8 mm": Variant(_VELOCITY),
    "down to 8 mm, with synthesised subjects": Variant(_VELOCITY, data="SYNTHESISED"),
}


def folder(output: Path, name: str, seed: int) -> Path:
    """Of the run of a variant."""
    return output / f"{name.replace(' ', '-').replace(',', '')}-{seed}"


def trained(name: str, variant: Variant, data: str, output: Path, epochs: int, seed: int) -> Path:
    """The folder of the finished run of a variant."""
    preset = f"ablation {name}"
    PRESETS.register(preset, variant.network)
    recipe = load_recipe("velocity", [f"epochs={epochs}", f"seed={seed}", *variant.settings])
    recipe = recipe.model_copy(update={"preset": preset})
    cache = output / "cases" / Path(data).name.replace(":", "-")
    prepare(data, cache, recipe.spacing_mm, organ_maps=recipe.organs_model)
    run = folder(output, name, seed)
    if not (run / "model.safetensors").exists():
        initial = None if variant.initial is None else folder(output, variant.initial, seed)
        train(recipe, cache, run, initial=initial, resume=(run / "last.ckpt").exists(), progress=False)
    return run


def main() -> None:
    """Print a line a variant as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder in the Learn2Reg layout")
    parser.add_argument("output", type=Path, help="folder for the runs")
    parser.add_argument("--synthesised", help="folder of mics synthesise, made from the same data")
    parser.add_argument("--epochs", type=int, default=4, help="of a hundred iterations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=VARIANTS, nargs="+", default=list(VARIANTS), help="these variants")
    options = parser.parse_args()
    names = {"DATA": options.data, "SYNTHESISED": options.synthesised}
    print("| variant | seed | Dice | SdLogJ | J ≤ 0, % |\n|---|---|---|---|---|", flush=True)
    for name, seed in product(options.only, options.seeds):
        variant = VARIANTS[name]
        data = names.get(variant.data, variant.data)
        if data is None:
            continue
        run = trained(name, variant, data, options.output, options.epochs, seed)
        if name == _PRETRAINED:
            continue
        found = last_validation(run)
        overlap, spread, folds = (found[f"val/{measure}"] for measure in ("dice", "sd_log_jacobian", "folds"))
        print(f"| {name} | {seed} | {overlap:.3f} | {spread:.3f} | {100 * folds:.4f} |", flush=True)


if __name__ == "__main__":
    main()
