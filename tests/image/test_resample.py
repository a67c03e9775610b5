import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import inside, resample

AFFINE = np.array([[0.98, 0.05, 0, 2.0], [-0.04, 1.02, 0.03, -1.5], [0, -0.02, 0.97, 3.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("matrix", [None, AFFINE], ids=["same_world", "affine"])
def test_linear_values_are_those_of_the_points_brought_over(grid, grids, matrix, smooth_image):
    image = smooth_image(grid)
    target = grids["anisotropic"] if grid == grids["oblique"] else grids["oblique"]
    points = target.voxel_to_world(np.moveaxis(np.indices(target.size), 0, -1))
    there = points if matrix is None else points @ matrix[:3, :3].T + matrix[:3, 3]
    voxels = np.moveaxis(image.grid.world_to_voxel(there), -1, 0)
    expected = map_coordinates(image.array, voxels, order=1, mode="nearest")

    result = resample(image, target, matrix, outside=-1000)
    within = inside(grid, target, matrix)
    assert result.grid == target
    assert result.array.dtype == np.float32
    assert within.mean() > 0.5
    np.testing.assert_allclose(result.array[within], expected[within], atol=0.05)
    assert (result.array[~within] == -1000).all()


def test_nearest_keeps_type_and_invents_no_label(grid, grids):
    labels = Image(np.random.default_rng(0).choice([0, 3, 11, 200], size=grid.size).astype(np.uint8), grid)
    result = resample(labels, grids["anisotropic"], AFFINE, nearest=True, outside=0)
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) <= {0, 3, 11, 200}


def test_field_of_view_ends_half_a_voxel_beyond_the_last_centre():
    image_grid = Grid((4, 4, 4), (2, 2, 2), (0, 0, 0))
    fine = Grid((21, 1, 1), (0.5, 1, 1), (-2, 3, 3))
    x = fine.points()[:, 0, 0, 0]
    assert np.array_equal(inside(image_grid, fine)[:, 0, 0], (x >= -1) & (x <= 7))


def test_own_grid_is_all_inside_and_unchanged(grid, smooth_image):
    image = smooth_image(grid)
    assert inside(grid, grid).all()
    np.testing.assert_allclose(resample(image, grid, outside=0).array, image.array, atol=1e-3)
