"""The picture of a case, by single voxels: which way up it is, and what is coloured."""

import numpy as np
import pytest

from mics.data.preview import COLOURS, picture, write_preview
from mics.image.grid import Grid
from mics.image.io import Image

GRID = Grid.axis_aligned((0, 0, 0), (5, 6, 7), 1, "LAS")


@pytest.fixture
def volume():
    """Air, and a bright voxel to the right, in front and on top of the middle (LAS: low i, high j, high k)."""
    hu = np.full(GRID.size, -1000, np.int16)
    hu[1, 3, 4] = hu[3, 5, 4] = hu[3, 3, 6] = 1000
    return Image(hu, GRID)


def test_the_patients_right_is_on_the_left_and_front_and_head_are_on_top(volume):
    shown = picture(volume, None)
    assert shown.shape == (8, 6 + 6 + 7, 3)
    bright = {tuple(place) for place in np.argwhere(shown[..., 0] == 255).tolist()}
    axial = {(6 - 3, 1), (6 - 5, 3)}
    coronal = {(7 - 4, 6 + 1), (7 - 6, 6 + 3)}
    sagittal = {(7 - 4, 12 + 6 - 5), (7 - 6, 12 + 6 - 3)}
    assert bright == axial | coronal | sagittal


def test_labels_are_coloured_and_choose_the_planes(volume, tmp_path):
    labels = np.zeros(GRID.size, np.uint8)
    labels[0, 0, 0] = 6
    labels[5, 6, 7] = 2
    for focus, rows in ((6, [6, 7, 7]), (2, [0, 0, 0])):
        shown = picture(volume, labels, focus)
        i, j, _ = np.argwhere(labels == focus)[0]
        for row, column in zip(rows, (i, 6 + i, 12 + 6 - j), strict=True):
            np.testing.assert_array_equal(shown[row, column], np.round(0.45 * COLOURS[focus]))
    write_preview(volume, labels, tmp_path / "both.png")
    write_preview(volume, labels, tmp_path / "again.png")
    write_preview(volume, labels, tmp_path / "liver.png", focus=6)
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert (tmp_path / "both.png").read_bytes() != (tmp_path / "liver.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3
