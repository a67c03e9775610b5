import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from mics.deformation.maps import jacobian_map, norm_map
from mics.deformation.transform import Transform
from mics.image.grid import Grid


def test_the_jacobian_is_itks_within_and_an_affines_everywhere(grid):
    random = np.random.default_rng(0)
    bumps = np.stack([gaussian_filter(random.normal(size=grid.size), 2) * 20 for _ in range(3)], axis=-1)
    transform = Transform(bumps.astype(np.float32), grid)
    # ITK differentiates along the array's axes: it has to be told the vectors along them.
    along = np.einsum("cr,...c->...r", np.reshape(grid.direction, (3, 3)), bumps)
    straight = sitk.GetImageFromArray(np.ascontiguousarray(along.transpose(2, 1, 0, 3)), isVector=True)
    straight.SetSpacing(grid.spacing)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(straight)).T
    inner = (slice(1, -1),) * 3
    ours = jacobian_map(transform)
    assert ours.grid == grid
    np.testing.assert_allclose(ours.array[inner], expected[inner], atol=1e-4)


@pytest.mark.parametrize("size", [(7, 5, 4), (200, 90, 60)])  # the larger one in several slabs
def test_of_an_affine(size):
    grid = Grid(size, (2.0, 1.5, 3.0), (5.0, 6.0, 7.0))
    matrix = np.array([[1.2, 0.1, 0], [0, 0.8, 0.05], [0.02, 0, 1.1]])
    points = grid.points().astype(np.float64)
    displacement = points @ (matrix - np.eye(3)).T + [10, -4, 3]
    transform = Transform(displacement.astype(np.float32), grid)
    np.testing.assert_allclose(jacobian_map(transform).array, np.linalg.det(matrix), atol=1e-3)
    np.testing.assert_allclose(norm_map(transform).array, np.linalg.norm(displacement, axis=-1), atol=1e-3)
