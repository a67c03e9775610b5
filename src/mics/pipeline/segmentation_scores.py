"""How well a trained segmentation network does on the subjects held out of its training, beside the paper's figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mics.data.manifest import read_manifest
from mics.errors import counted
from mics.evaluation.metrics import dice
from mics.evaluation.tables import number, table
from mics.files.whole import write_text
from mics.image.io import read_image, read_labels
from mics.network.weights import load_model_for
from mics.organs import ORGAN_NAMES
from mics.pseudo_labels.predict import predict

TABLE = "segmentation.md"

PAPER = {1: 0.92, 2: 0.90, 3: 0.91, 4: 0.72, 5: 0.61, 6: 0.94, 7: 0.83, 8: 0.89, 9: 0.76, 10: 0.62, 11: 0.74}
"""The paper's Dice by organ (section 4.4), on 21 subjects of Learn2Reg and Pancreas-CT."""


def score_segmentation(
    data: Path, output: Path, *, model: Path, device: torch.device, progress: Callable[[str], None]
) -> dict[int, list[float]]:
    """Segment everybody of the validation split of ``data`` and write ``output/segmentation.md``; returns Dice by organ.

    Of each subject those organs count that were annotated and are there; what the network misses altogether has 0.
    """
    network = load_model_for("segmentation", model)
    found: dict[int, list[float]] = {organ: [] for organ in ORGAN_NAMES}
    subjects = [row for row in read_manifest(data) if row.status == "prepared" and row.split == "val" and row.labels]
    for row in subjects:
        progress(f"  {row.name}")
        predicted = predict(network, read_image(data / row.image), device).labels
        truth = read_labels(data / row.labels).array
        overlaps = dice(truth, predicted, row.organs, moving_labels=truth)
        for organ, overlap in overlaps.items():
            if organ <= network.network.config.organs:
                found[organ].append(overlap)
    rows = [
        [name, str(len(found[organ])), number(_mean(found[organ]), 3), number(PAPER.get(organ), 2)]
        for organ, name in ORGAN_NAMES.items()
    ]
    text = (
        f"{counted(len(subjects), 'subject')}; the paper's figures are of 21 subjects of Learn2Reg and Pancreas-CT.\n\n"
    )
    output.mkdir(parents=True, exist_ok=True)
    write_text(text + "\n".join(table(["organ", "subjects", "Dice", "paper"], rows)) + "\n", output / TABLE)
    return found


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
