"""What the forms of the inverse loss do at the paper's weights: the same short training for each, judged on the validation pairs.

    OMP_NUM_THREADS=1 python benchmarks/inverse_forms.py AbdomenCTCT runs/inverse-forms

The paper's network with an eighth of its channels, its losses, and crops of 256 mm in one step (``finetune-one-step``), with
γ = 0.1 and δ = 0 as in the sweep of ε in its Figure 2, at 16 mm so that one core does it in minutes: a distance in mm or in the
crop's own coordinates does not depend on the spacing. Random weights, one seed. Scored after the last epoch on whole volumes, at
16 mm. A finished run is not trained again, and one that was stopped goes on.
"""

import argparse
from pathlib import Path

from runs import last_validation

from mics.network.presets import PRESETS
from mics.training.cases import prepare
from mics.training.recipe import Recipe, load_recipe
from mics.training.run import train

SPACING_MM = 16.0
FORMS = [
    ("none", "squared_unit", 0.0, "0"),
    ("distance, voxels of 2 mm", "distance_mm", 10 / 2, "10"),
    ("distance, unit", "distance_unit", 10.0, "10"),
    ("mean square, unit", "squared_unit", 1.0, "1"),
    ("mean square, unit", "squared_unit", 10.0, "10"),
    ("mean square, unit", "squared_unit", 100.0, "100"),
]
"""Title, form of :data:`mics.losses.total.FORMS`, its weight, and ε as the table shows it: 10 of a 2 mm voxel are 5 of a mm."""


def recipe_of(form: str, weight: float, epochs: int) -> Recipe:
    """The paper's fine-tuning with one step, for one core."""
    PRESETS.register("paper-eighth", PRESETS["paper"].model_copy(update={"channels": (8, 16, 32, 64)}))
    settings = ["preset=paper-eighth", f"spacing_mm={SPACING_MM}", "crop=[16, 16, 16]", "hu_range=[-125, 275]"]
    settings += [f"epochs={epochs}", "iterations_per_epoch=50", f"validate_every={epochs}", "workers=0"]
    settings += ["precision=float32", "learning_rate=1e-3", "losses.jacobian=0"]
    return load_recipe("finetune-one-step", [*settings, f"losses.inverse={weight}", f"loss_forms.inverse={form}"])


def main() -> None:
    """Print a line a form and weight as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder in the Learn2Reg layout")
    parser.add_argument("output", type=Path, help="folder for the runs")
    parser.add_argument("--epochs", type=int, default=4, help="of fifty iterations")
    parser.add_argument("--only", type=int, nargs="+", choices=range(len(FORMS)), help="lines of the table, from 0 on")
    options = parser.parse_args()
    cases = options.output / "cases"
    prepare(options.data, cases, SPACING_MM)
    print("| Linv | ε | Dice | SdLogJ | J ≤ 0, % | inverse error, mm |\n|---|---|---|---|---|---|", flush=True)
    for line in options.only or range(len(FORMS)):
        title, form, weight, shown = FORMS[line]
        run = options.output / f"{form}-{weight:g}-{options.epochs}"
        if not (run / "model.safetensors").exists():
            recipe = recipe_of(form, weight, options.epochs)
            train(recipe, cases, run, resume=(run / "last.ckpt").exists(), progress=False)
        found = last_validation(run)
        overlap, spread, folds = (found[f"val/{measure}"] for measure in ("dice", "sd_log_jacobian", "folds"))
        row = f"| {title} | {shown} | {overlap:.3f} | {spread:.4f} | {100 * folds:.3f} |"
        print(f"{row} {found['val/inverse_error_mm']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
