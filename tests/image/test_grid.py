import json
import math

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.grid import Grid, apply_matrix


def itk_volume(grid: Grid) -> sitk.Image:
    volume = sitk.Image(list(grid.size), sitk.sitkUInt8)
    volume.SetSpacing(grid.spacing)
    volume.SetOrigin(grid.origin)
    volume.SetDirection(grid.direction)
    return volume


def test_voxels_and_points_are_where_itk_has_them(grid):
    volume = itk_volume(grid)
    voxels = np.random.default_rng(0).uniform(-5, 30, size=(20, 3))
    points = grid.voxel_to_world(voxels)
    expected = [volume.TransformContinuousIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels]
    np.testing.assert_allclose(points, expected, atol=1e-9)
    np.testing.assert_allclose(grid.world_to_voxel(points), voxels, atol=1e-9)


def test_points_are_all_voxel_centres(grid):
    points = grid.points()
    assert points.dtype == np.float32
    voxels = np.moveaxis(np.indices(grid.size), 0, -1)
    np.testing.assert_allclose(points, grid.voxel_to_world(voxels), atol=1e-4)


def test_corners_and_centre(grid):
    volume = itk_volume(grid)
    last = [n - 1 for n in grid.size]
    expected = {tuple(np.round(volume.TransformIndexToPhysicalPoint([i, j, k]), 6)) for i in (0, last[0])
                for j in (0, last[1]) for k in (0, last[2])}  # fmt: skip
    assert {tuple(np.round(corner, 6)) for corner in grid.corners()} == expected
    np.testing.assert_allclose(grid.centre, grid.corners().mean(axis=0))


@pytest.mark.parametrize("letters", ["LPS", "RAS", "LAS", "PIR", "SLA", "IPR"])
def test_orientation_is_itks(letters):
    orient = sitk.DICOMOrientImageFilter()
    orient.SetDesiredCoordinateOrientation(letters)
    turned = orient.Execute(sitk.Image([3, 4, 5], sitk.sitkUInt8))
    grid = Grid(turned.GetSize(), turned.GetSpacing(), turned.GetOrigin(), turned.GetDirection())
    assert grid.orientation == letters
    assert Grid.axis_aligned([0, 0, 0], [9, 9, 9], 3, letters).direction == turned.GetDirection()


def test_orientation_of_an_oblique_grid_names_each_axis_once(grids):
    assert grids["oblique"].orientation == "LPS"
    # 45 degrees between two axes: each column is as near to one as to the other
    half = math.sqrt(0.5)
    grid = Grid((2, 2, 2), (1, 1, 1), (0, 0, 0), (half, half, 0, half, -half, 0, 0, 0, 1))
    assert {frozenset("LR"), frozenset("PA"), frozenset("SI")} == {
        next(pair for pair in map(frozenset, ("LR", "PA", "SI")) if letter in pair) for letter in grid.orientation
    }


def test_dictionary_survives_json(grid):
    assert Grid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


def test_is_close_measures_millimetres_at_the_far_corner(grid):
    def stretched(by_mm: float) -> Grid:
        # the last voxel along the first axis moves by this much, the first not at all
        spacing = (grid.spacing[0] + by_mm / (grid.size[0] - 1), *grid.spacing[1:])
        return Grid(grid.size, spacing, grid.origin, grid.direction)

    assert grid.is_close(stretched(0.0005))
    assert not grid.is_close(stretched(0.01))
    assert grid.is_close(stretched(0.01), tolerance_mm=0.02)
    assert not grid.is_close(Grid((*grid.size[:2], grid.size[2] + 1), grid.spacing, grid.origin, grid.direction))


@pytest.mark.parametrize("orientation", ["LPS", "LAS", "RAS", "SPR"])
def test_axis_aligned_covers_its_box_and_no_more(orientation):
    lower, upper = np.array([-50.0, -30.0, 100.0]), np.array([10.0, 31.0, 143.9])
    grid = Grid.axis_aligned(lower, upper, (4.0, 3.0, 5.0), orientation)
    corners = grid.corners()
    assert grid.orientation == orientation
    assert (corners.min(axis=0) <= lower + 1e-9).all()
    assert (corners.max(axis=0) >= upper - 1e-9).all()
    assert (np.ptp(corners, axis=0) - (upper - lower) < 5.0).all()


def test_axis_aligned_box_of_whole_steps_gets_no_extra_voxel():
    assert Grid.axis_aligned([0, 0, 0], [0.3, 0.6, 0.7], 0.1, "LPS").size == (4, 7, 8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"direction": (1, 0.1, 0, 0, 1, 0, 0, 0, 1)}, "orthonormal"),
        ({"direction": (0.0,) * 9}, "orthonormal"),
        ({"direction": (1.0, 0.0, 0.0)}, "9 finite numbers"),
        ({"direction": (math.nan,) * 9}, "9 finite numbers"),
        ({"spacing": (1, 0, 1)}, "positive"),
        ({"spacing": (1, -1, 1)}, "positive"),
        ({"size": (4, 0, 4)}, "at least one voxel"),
        ({"size": (4, 1.5, 4)}, "whole numbers"),
        ({"size": (4, math.nan, 4)}, "3 finite numbers"),
        ({"size": None}, "3 finite numbers"),
        ({"spacing": ("a", 1, 1)}, "3 finite numbers"),
        ({"origin": (0, math.inf, 0)}, "finite"),
    ],
)
def test_impossible_grids_are_refused(changed, message):
    values = {"size": (4, 4, 4), "spacing": (1, 1, 1), "origin": (0, 0, 0), **changed}
    with pytest.raises(InputError, match=message):
        Grid(**values)


@pytest.mark.parametrize(("box", "orientation"), [(([0, 0, 0], [1, -1, 1]), "LPS"), (([0, 0, 0], [1, 1, 1]), "LRS")])
def test_impossible_boxes_are_refused(box, orientation):
    with pytest.raises(InputError):
        Grid.axis_aligned(*box, 1.0, orientation)


def test_a_box_that_is_empty_by_less_than_a_voxel_is_no_voxel():
    with pytest.raises(InputError, match=r"\[9\.0, 9\.0, -0\.5\] mm is empty"):
        Grid.axis_aligned([0, 0, 0], [9, 9, -0.5], 1.0)
    assert Grid.axis_aligned([0, 0, 0], [9, 9, 0], 1.0).size == (10, 10, 1)


def test_apply_matrix_is_homogeneous_multiplication():
    rng = np.random.default_rng(1)
    matrix, points = np.eye(4), rng.normal(size=(2, 5, 3))
    matrix[:3] = rng.normal(size=(3, 4))
    expected = np.einsum("ij,abj->abi", matrix, np.concatenate([points, np.ones((2, 5, 1))], axis=-1))[..., :3]
    np.testing.assert_allclose(apply_matrix(matrix, points), expected)
