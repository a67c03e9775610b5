"""How well segmentation models find the organs of the validation subjects, as they are and in the hard versions of their scans.

    python benchmarks/organs.py AbdomenCTCT                                  # organs-small and organs-coarse
    python benchmarks/organs.py AbdomenCTCT --models organs-small mine.safetensors

Mean Dice of the hard prediction over the organs that a version shows, on label maps of the model's spacing, averaged over
subjects. Versions on another grid (thick slices, moved patients) concern the way to the network's grid, and are left to panel.py.
"""

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch
from hard_versions import HARD_VERSIONS, Scan

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.evaluation.metrics import dice
from mics.evaluation.tables import number, table
from mics.image.blocks import block_majority, block_mean
from mics.image.intensity import hu_windows
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel, load_model
from mics.organs import ORGAN_NAMES
from mics.training.organ_maps import voxels_per_edge

CONDITIONS = ("plain", "without contrast medium", "upper part only", "double noise", "sharp kernel")


@torch.no_grad()
def mean_dice(model: LoadedModel, scan: Scan) -> float:
    """Over the organs that the scan shows; one that is not found counts 0."""
    factor = voxels_per_edge("scan", scan.image.grid, model.spacing_mm)
    whole = tuple(slice(n % factor, None) for n in scan.image.grid.size)
    hu = block_mean(scan.image.array[whole].astype(np.float32), factor)
    labels = block_majority(scan.labels.array[whole].astype(np.uint8), factor, len(ORGAN_NAMES) + 1)
    windows = hu_windows(torch.from_numpy(hu)[None, None], model.hu_range)
    found = cast(Segmentation, model.network).probabilities(windows, model.crop).argmax(1)[0].numpy()
    shown = [organ for organ in ORGAN_NAMES if (labels == organ).any()]
    return float(np.mean(list(dice(labels, found, shown, moving_labels=labels).values())))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("--models", nargs="+", default=["organs-small", "organs-coarse"])
    options = parser.parse_args()
    models = [load_model(name) for name in options.models]
    subjects = [Scan(case.image(), case.labels()) for case in open_learn2reg(options.data).validation]
    lines = []
    for model in models:
        scores = [np.mean([mean_dice(model, HARD_VERSIONS[name](scan)) for scan in subjects]) for name in CONDITIONS]
        lines.append([model.name, *(number(float(score), 3) for score in (*scores, np.mean(scores)))])
    print("\n".join(table(["model", *CONDITIONS, "mean"], lines)))


if __name__ == "__main__":
    main()
