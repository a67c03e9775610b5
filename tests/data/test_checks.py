"""What speaks against a case's affine and organs, from matrices and boxes whose figures are known."""

import numpy as np
import pytest

from mics.data.checks import check, check_labels
from mics.data.frame import Frame
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import LIVER

GRID = Grid.axis_aligned((-200, -200, -200), (200, 200, 200), 10.0, "LAS")
FRAME = Frame("reference", "", GRID, GRID, {})


def scaled(*factors):
    return np.diag([*factors, 1.0])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ((1, 1, 1), None),
        ((0.9, 1.1, 1.2), None),
        ((1.15, 1.15, 1.15), None),  # 1.52 of the volume
        ((0.79, 0.79, 0.64), "changes the volume by 0.40"),
        ((1.2, 1.2, 1.2), "changes the volume by 1.73"),
        ((0.55, 1.3, 1.3), "by 0.55 along one axis and by 1.30 along another"),
        ((1.7, 0.8, 0.8), "by 0.80 along one axis and by 1.70 along another"),
    ],
)
def test_an_affine_that_scales_as_subjects_do_not_differ_is_told(factors, message):
    figures, messages = check(FRAME, GRID, scaled(*factors))
    assert figures["scale"] == pytest.approx(np.prod(factors), abs=1e-3)
    assert figures["stretches"] == pytest.approx(sorted(factors, reverse=True))
    assert len(messages) == (message is not None)
    assert message is None or message in messages[0]


def box(grid, voxels):
    """A liver of so many voxels along each axis."""
    array = np.zeros(grid.size, np.uint8)
    array[5 : 5 + voxels, 5 : 5 + voxels, 5 : 5 + voxels] = LIVER
    return Image(array, grid)


@pytest.mark.parametrize(("voxels", "odd"), [(12, False), (16, True)])
def test_a_liver_of_more_than_four_litres_is_told_with_its_volume_in_the_scan(voxels, odd):
    """The same voxels, 10 mm in the frame and 8 mm in the scan."""
    native = Grid.axis_aligned((-160, -160, -160), (160, 160, 160), 8.0, "LAS")
    figures, messages = check_labels(FRAME, box(GRID, voxels), box(native, voxels), scaled(0.8, 0.8, 0.8), (LIVER,))
    assert figures["volumes_ml"] == {"6": voxels**3}
    assert figures["native_volumes_ml"] == {"6": pytest.approx(voxels**3 * 0.512, abs=0.05)}
    message = ["The liver has 4096 ml in the frame and 2097 ml in the scan: the affine or the labels may be wrong."]
    assert messages == (message if odd else [])
