import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.deformation import slabs
from mics.deformation.transform import Transform
from mics.image.grid import apply_matrix
from mics.registration.native import fixed_to_moving, moving_to_fixed

AFFINE = np.array([[1.1, 0.1, 0, 90.0], [-0.1, 0.95, 0.02, -70.0], [0, 0.05, 1.03, 450.0], [0, 0, 0, 1]])


@pytest.fixture
def network_grid(oblique):
    return oblique((20, 18, 22), (6, 6, 6), (10, 20, 30), flips=(1, -1, 1))


@pytest.fixture
def fixed(oblique):
    return oblique((30, 32, 20), (3, 3, 5), (10, 20, 30), (12, -5, 8), (-1, 1, 1), (1, 0, 2))


@pytest.fixture
def moving(oblique):
    return oblique((28, 20, 30), (3.5, 5, 3), apply_matrix(AFFINE, [10, 20, 30]), (-6, 15, 3), (1, 1, -1), (0, 2, 1))


def linear_displacement(grid, gradient, shift):
    """A displacement in mm that is a linear function of the place, and the same in voxels of the grid."""
    millimetres = (grid.points().astype(float) @ np.array(gradient).T + shift).astype(np.float32)
    return Transform(millimetres, grid).displacement_voxels()


GRADIENT = np.array([[0.02, 0.01, 0], [0, -0.03, 0.01], [0.01, 0, 0.02]])
SHIFT = np.array([3.0, -2.0, 4.0])


def u(points):
    return points @ GRADIENT.T + SHIFT


def within(grid, points):
    voxels = grid.world_to_voxel(points)
    return np.all((voxels >= 0) & (voxels <= np.array(grid.size) - 1), axis=-1)


def test_moving_to_fixed_is_the_displacement_and_then_the_affine(network_grid, fixed):
    displacement = linear_displacement(network_grid, GRADIENT, SHIFT)
    found = moving_to_fixed(displacement, network_grid, fixed, AFFINE)
    x = fixed.points().astype(float)
    assert found.grid == fixed
    inside = within(network_grid, x)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found.displacement_mm[inside], (apply_matrix(AFFINE, x + u(x)) - x)[inside], atol=2e-3)


def test_fixed_to_moving_is_the_inverse_affine_and_then_the_displacement(network_grid, moving):
    displacement = linear_displacement(network_grid, GRADIENT, SHIFT)
    found = fixed_to_moving(displacement, network_grid, moving, AFFINE)
    y = moving.points().astype(float)
    p = apply_matrix(np.linalg.inv(AFFINE), y)
    inside = within(network_grid, p)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found.displacement_mm[inside], (p + u(p) - y)[inside], atol=2e-3)


def test_a_rough_displacement_agrees_with_itk(network_grid, fixed):
    rough = torch.randn(1, 3, *network_grid.size, generator=torch.Generator().manual_seed(0))
    itk_field = sitk.GetImageFromArray(
        Transform.from_voxels(rough, network_grid).displacement_mm.transpose(2, 1, 0, 3).astype(np.float64),
        isVector=True,
    )
    itk_field.SetOrigin(network_grid.origin)
    itk_field.SetSpacing(network_grid.spacing)
    itk_field.SetDirection(network_grid.direction)
    affine = sitk.AffineTransform(AFFINE[:3, :3].ravel().tolist(), AFFINE[:3, 3].tolist())
    both = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(itk_field)])
    found = moving_to_fixed(rough, network_grid, fixed, AFFINE)
    points = fixed.points()[5:-5:4, 5:-5:4, 4:-4:4].reshape(-1, 3).astype(float)
    voxels = network_grid.world_to_voxel(points)
    points = points[np.all((voxels > 0.1) & (voxels < np.array(network_grid.size) - 1.1), axis=1)]
    assert len(points) > 30
    expected = np.array([both.TransformPoint(point) for point in points.tolist()])
    np.testing.assert_allclose(found.transform_points(points), expected, atol=2e-3)


def test_beyond_the_networks_grid_the_displacement_keeps_its_border_value(network_grid, oblique):
    displacement = torch.zeros(1, 3, *network_grid.size)
    displacement[:, 2, :, :, -1] = 2.0
    above = oblique((4, 4, 4), (6, 6, 6), (10, 20, 300))
    found = moving_to_fixed(displacement, network_grid, above, np.eye(4))
    np.testing.assert_allclose(found.displacement_mm, np.broadcast_to([0, 0, 12], (4, 4, 4, 3)), atol=1e-4)


def test_slabs_make_no_difference(monkeypatch, network_grid, fixed):
    rough = torch.randn(1, 3, *network_grid.size, generator=torch.Generator().manual_seed(0))
    whole = moving_to_fixed(rough, network_grid, fixed, AFFINE).displacement_mm
    monkeypatch.setattr(slabs, "_SLAB_VOXELS", 7 * fixed.size[1] * fixed.size[2])
    np.testing.assert_allclose(moving_to_fixed(rough, network_grid, fixed, AFFINE).displacement_mm, whole, atol=1e-3)
