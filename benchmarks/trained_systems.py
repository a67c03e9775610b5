"""Networks of the paper's Table 4 after the same short training: ours, the predecessor's form of it and LapIRN.

    OMP_NUM_THREADS=1 python benchmarks/trained_systems.py AbdomenCTCT runs/trained-systems

Two hundred iterations of one pair each from random weights, at 16 mm, without organ maps, with the augmentation that the recipes
share and the same seed. Scored after the last epoch on whole volumes, at 16 mm. A finished run is not trained again, and one that
was stopped goes on.
"""

import argparse
from pathlib import Path

from runs import last_validation

from mics.training.cases import prepare
from mics.training.recipe import Recipe, load_recipe
from mics.training.run import train

SPACING_MM = 16.0
ITERATIONS_PER_EPOCH = 50
SYSTEMS = {
    "ours, two steps": ("mics-small", ["preset=small"]),
    "ours, one step": ("mics-small", ["preset=small", "steps=1"]),
    "predecessor's form": ("predecessor-small", []),
    "LapIRN": ("lapirn-small", []),
    "LapIRN, without labels": ("lapirn-small", ["losses.segmentation=0"]),
}
"""Recipe and changes by title."""


def recipe_of(title: str, epochs: int) -> Recipe:
    """A system's recipe at the common budget."""
    name, changes = SYSTEMS[title]
    common = [f"spacing_mm={SPACING_MM}", f"epochs={epochs}", f"iterations_per_epoch={ITERATIONS_PER_EPOCH}"]
    common += [f"validate_every={epochs}", "precision=float32", "decay=false"]
    return load_recipe(name, [*common, *changes])


def main() -> None:
    """Print a line a system as its training ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder in the Learn2Reg layout")
    parser.add_argument("output", type=Path, help="folder for the runs")
    parser.add_argument("--epochs", type=int, default=4, help="of fifty iterations")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="some of the systems")
    options = parser.parse_args()
    cases = options.output / "cases"
    prepare(options.data, cases, SPACING_MM)
    print("| system | Dice | SdLogJ | J ≤ 0, % | inverse error, mm |\n|---|---|---|---|---|", flush=True)
    for title in options.only or SYSTEMS:
        run = options.output / f"{title.replace(' ', '-').replace(',', '')}-{options.epochs}"
        if not (run / "model.safetensors").exists():
            train(recipe_of(title, options.epochs), cases, run, resume=(run / "last.ckpt").exists(), progress=False)
        found = last_validation(run)
        overlap, spread, folds = (found[f"val/{measure}"] for measure in ("dice", "sd_log_jacobian", "folds"))
        row = f"| {title} | {overlap:.3f} | {spread:.4f} | {100 * folds:.3f} |"
        print(f"{row} {found['val/inverse_error_mm']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
