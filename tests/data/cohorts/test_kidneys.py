"""Right and left kidney by anatomy: made-up bodies whose sides are known, in orientations that no index can guess."""

import numpy as np
import pytest

from mics.data.cohorts.kidneys import spine_position, split_kidneys
from mics.image.grid import Grid
from mics.image.io import Image

SPINE_X = 35.0
RADII = np.array([18.0, 15.0, 40.0])


def body(grid, right, left, shift=0.0):
    """A body with a spine at x = 35 mm and a kidney around each of two points: CT, mask, and which voxel is whose."""
    points = grid.points().astype(float) - [shift, 0, 0]
    hu = np.full(grid.size, -1000.0)
    hu[((points - [SPINE_X - 12, 0, 0]) / [150, 100, 500])[..., :2].__pow__(2).sum(-1) < 1] = 40
    hu[np.hypot(points[..., 0] - SPINE_X, points[..., 1] - 55) < 18] = 400
    sides = [(((points - centre) / RADII) ** 2).sum(-1) < 1 for centre in (right, left)]
    hu[sides[0] | sides[1]] = 210  # as bright as bone
    return Image(hu.astype(np.float32), grid), *sides


RIGHT, LEFT = (SPINE_X - 60, 40, 0), (SPINE_X + 60, 35, 10)
ORIENTATIONS = ["IPL", "LPS", "RAS", "ASR", "PIR"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_sides_are_the_patients_whatever_way_the_array_runs(orientation):
    grid = Grid.axis_aligned((-150, -110, -120), (190, 120, 130), (5, 4, 6), orientation)
    image, right, left = body(grid, RIGHT, LEFT)
    found = split_kidneys(right | left, image)
    np.testing.assert_array_equal(found[0], right)
    np.testing.assert_array_equal(found[1], left)
    assert right.any()
    assert left.any()


def test_sides_in_an_oblique_array(grids):
    oblique = grids["oblique_left_handed"]
    grid = Grid((70, 60, 50), (5.0, 5.5, 6.0), (0.0, 0.0, 0.0), oblique.direction)
    x, y, z = (np.array([SPINE_X - 12, 0, 0]) - grid.centre).tolist()
    image, right, left = body(Grid(grid.size, grid.spacing, (x, y, z), grid.direction), RIGHT, LEFT)
    found = split_kidneys(right | left, image)
    np.testing.assert_array_equal(found[0], right)
    np.testing.assert_array_equal(found[1], left)


def test_a_body_far_from_the_middle_of_the_array_and_one_kidney_alone():
    """Neither the array's nor the mask's middle says anything here: both lie to the other side of the spine."""
    grid = Grid.axis_aligned((-150, -110, -120), (600, 120, 130), (5, 5, 6), "LPS")
    image, right, left = body(grid, RIGHT, LEFT, shift=20.0)
    assert abs(spine_position(image, right | left) - SPINE_X - 20) < 8
    for side, kidney in enumerate((right, left)):
        found = split_kidneys(kidney, image)
        np.testing.assert_array_equal(found[side], kidney)
        assert not found[1 - side].any()


def test_a_kidney_that_reaches_over_the_spine_stays_whole_and_a_horseshoe_is_cut_at_it():
    grid = Grid.axis_aligned((-150, -110, -120), (190, 120, 130), 4, "LPS")
    image, right, left = body(grid, (SPINE_X - 12, 10, 0), (SPINE_X + 90, 35, 10))
    found = split_kidneys(right | left, image)
    np.testing.assert_array_equal(found[0], right)
    image, right, left = body(grid, (SPINE_X - 16, 10, 0), (SPINE_X + 16, 10, 0))
    kidneys = right | left
    found = split_kidneys(kidneys, image)
    np.testing.assert_array_equal(found[0] | found[1], kidneys)
    x = grid.points()[..., 0]
    assert x[found[0]].max() < x[found[1]].min()
    assert abs(x[found[1]].min() - SPINE_X) < 10


def test_without_bone_the_middle_of_the_body_divides_and_without_kidneys_there_are_none():
    grid = Grid.axis_aligned((-150, -110, -120), (190, 120, 130), 5, "RAS")
    image, right, left = body(grid, RIGHT, LEFT)
    soft = Image(np.minimum(image.array, 100), grid)
    found = split_kidneys(right | left, soft)
    np.testing.assert_array_equal(found[0], right)
    assert not any(side.any() for side in split_kidneys(np.zeros(grid.size, bool), image))
