"""A list of two pairs of three subjects with known labels, and deformations for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mics.evaluation.learn2reg import displacement_name, write_displacement
from mics.image.grid import Grid
from mics.image.io import Image, write_image

SIZE = (16, 14, 12)
GRID = Grid(SIZE, (2.0, 2.0, 2.0), (10.0, -20.0, 30.0))
PAIRS = [("p1", "p2"), ("p1", "p3")]
SHIFT = {"p1": 0, "p2": 2, "p3": -1}
"""How many voxels further along i the subject's organs lie."""


def labels_of(subject: str) -> Image:
    """A liver (6) of 4x5x4 voxels and a spleen (1) of 3x4x3, moved along i."""
    labels, start = np.zeros(SIZE, np.uint8), 4 + SHIFT[subject]
    labels[start : start + 4, 2:7, 2:6] = 6
    labels[start + 1 : start + 4, 9:13, 6:9] = 1
    return Image(labels, GRID)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """The list, as a CSV file beside its label maps."""
    for subject in SHIFT:
        write_image(labels_of(subject), tmp_path / f"{subject}.nii.gz")
    lines = [f"{fixed},{moving},{fixed}.nii.gz,{moving}.nii.gz" for fixed, moving in PAIRS]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["fixed,moving,fixed_labels,moving_labels", *lines]) + "\n")
    return path


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., Path]:
    """``submit(name, shifts, script)`` writes displacements of so many voxels along i for each pair."""

    def write(name: str, shifts: dict[tuple[str, str], float], script: str = "current") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for (fixed, moving), shift in shifts.items():
            displacement = np.zeros((3, *SIZE), np.float32)
            displacement[0] = shift
            write_displacement(displacement, folder / displacement_name(fixed, moving, script=script))
        return folder

    return write


@pytest.fixture
def perfect(submit: Callable[..., Path]) -> Path:
    """The shift that lays each pair's organs upon each other."""
    return submit("perfect", {(fixed, moving): SHIFT[moving] - SHIFT[fixed] for fixed, moving in PAIRS})
