import itertools

import numpy as np
import pytest

from mics.image.grid import Grid
from mics.report.planes import three_planes

ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*axes)
]
WORLD = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "I": (2, -1), "S": (2, 1)}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_edge_is_where_its_letter_says(orientation):
    grid = Grid.axis_aligned((-20, -33, 5), (25, 30, 45), (2, 3, 4), orientation)
    points = grid.points()
    for plane in three_planes(grid, np.array([3, 4, 5])):
        picture = plane.picture(points)
        left, right, top, bottom = (WORLD[letter] for letter in plane.edges)
        for (axis, sign), edge, other in (
            (left, picture[:, 0], picture[:, -1]),
            (right, picture[:, -1], picture[:, 0]),
            (top, picture[0], picture[-1]),
            (bottom, picture[-1], picture[0]),
        ):
            assert np.all(sign * (edge - other)[..., axis] > 0)
        rows, columns = picture.shape[:2]
        assert plane.width_mm == pytest.approx(columns * abs(picture[0, 1] - picture[0, 0]).max())
        assert plane.height_mm == pytest.approx(rows * abs(picture[1, 0] - picture[0, 0]).max())


def test_an_oblique_grid_is_cut_along_its_own_slices_at_the_position_asked_for():
    tilt = np.deg2rad(20)
    direction = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt))
    grid = Grid((8, 9, 10), (1.0, 1.0, 3.0), (5.0, -7.0, 11.0), direction)
    axial, coronal, sagittal = three_planes(grid, np.array([2.2, 3.9, 99.0]))
    assert [(plane.name, plane.axis, plane.index) for plane in (axial, coronal, sagittal)] == [
        ("axial", 2, 9),
        ("coronal", 1, 4),
        ("sagittal", 0, 2),
    ]


@pytest.mark.parametrize(("index", "expected"), [(0, slice(0, 2)), (4, slice(3, 6)), (9, slice(8, 10))])
def test_a_slab_is_that_part_of_the_grid(index, expected):
    grid = Grid.axis_aligned((0, 0, 0), (7, 8, 27), (1, 1, 3), "LAS")
    axial = three_planes(grid, np.array([0, 0, index]))[0]
    slab, span = axial.slab(grid, margin=1)
    assert span == expected
    np.testing.assert_allclose(slab.points(), grid.points()[:, :, span])
