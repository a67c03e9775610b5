"""Both directions on one grid: composed, resized and brought to the scans, against ITK and analytic maps."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from mics.deformation import slabs
from mics.deformation.bidirectional import BidirectionalField, of_spacing, same_box
from mics.deformation.field import exponentiate, resize_displacement
from mics.deformation.transform import Transform
from mics.errors import GeometryError, InputError
from mics.image.grid import Grid, apply_matrix

AFFINE = np.array([[1.1, 0.1, 0, 90.0], [-0.1, 0.95, 0.02, -70.0], [0, 0.05, 1.03, 450.0], [0, 0, 0, 1]])


def oblique(size, spacing, centre, degrees=(0, 0, 0), flips=(1, 1, 1), order=(0, 1, 2)):
    """A grid around `centre` whose axes are turned about the world's, flipped and permuted."""
    axes = (Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * flips)[:, order]
    origin = np.asarray(centre) - (axes * spacing) @ ((np.array(size) - 1) / 2)
    return Grid(tuple(size), tuple(spacing), tuple(origin.tolist()), tuple(axes.ravel().tolist()))


@pytest.fixture
def network_grid():
    return oblique((20, 18, 22), (6, 6, 6), (10, 20, 30), flips=(1, -1, 1))


@pytest.fixture
def fixed():
    return oblique((30, 32, 20), (3, 3, 5), (10, 20, 30), (12, -5, 8), (-1, 1, 1), (1, 0, 2))


@pytest.fixture
def moving():
    return oblique((28, 20, 30), (3.5, 5, 3), apply_matrix(AFFINE, [10, 20, 30]), (-6, 15, 3), (1, 1, -1), (0, 2, 1))


def moving_to_fixed(displacement, grid, fixed, affine):
    """Of a field whose other direction stands still, and a moving scan of eight voxels."""
    still, little = torch.zeros_like(displacement), Grid((2, 2, 2), (1, 1, 1), (0, 0, 0))
    field = BidirectionalField(moving_to_fixed=displacement, fixed_to_moving=still, grid=grid)
    return field.to_transforms(fixed=fixed, moving=little, to_fixed=np.eye(4), to_moving=affine).moving_to_fixed


def fixed_to_moving(displacement, grid, moving, affine):
    """The same the other way round."""
    still, little = torch.zeros_like(displacement), Grid((2, 2, 2), (1, 1, 1), (0, 0, 0))
    field = BidirectionalField(moving_to_fixed=still, fixed_to_moving=displacement, grid=grid)
    return field.to_transforms(fixed=little, moving=moving, to_fixed=np.eye(4), to_moving=affine).fixed_to_moving


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


def test_beyond_the_networks_grid_the_displacement_keeps_its_border_value(network_grid):
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


def field_of(grid, matrix, shift):
    """The affine deformation x -> M x + t of `grid`, and its exact inverse, in the world."""
    points = grid.points().astype(float)
    inverse = np.linalg.inv(matrix)
    forward, backward = points @ matrix.T + shift, (points - shift) @ inverse.T
    tensors = [
        Transform((places - points).astype(np.float32), grid).displacement_voxels() for places in (forward, backward)
    ]
    return BidirectionalField(moving_to_fixed=tensors[0], fixed_to_moving=tensors[1], grid=grid)


TURN = Rotation.from_euler("xyz", [4, -3, 5], degrees=True).as_matrix() * 1.02
STRETCH = np.diag([1.05, 0.96, 1.03])


def inner(displacement, margin=6):
    return displacement[..., margin:-margin, margin:-margin, margin:-margin]


def test_composed_is_the_product_of_affine_maps_in_the_order_of_the_moving_image(network_grid):
    """The moving image goes through the first: fixed points through the second map, then through the first."""
    middle = network_grid.centre
    first = field_of(network_grid, TURN, middle - TURN @ middle + [3, -2, 1])
    second = field_of(network_grid, STRETCH, middle - STRETCH @ middle + [-2, 4, 2])
    both = second.compose(first)
    matrix = TURN @ STRETCH
    shift = TURN @ (middle - STRETCH @ middle + [-2, 4, 2]) + middle - TURN @ middle + [3, -2, 1]
    expected = field_of(network_grid, matrix, shift)
    torch.testing.assert_close(inner(both.moving_to_fixed), inner(expected.moving_to_fixed), atol=1e-3, rtol=0)
    torch.testing.assert_close(inner(both.fixed_to_moving), inner(expected.fixed_to_moving), atol=1e-3, rtol=0)
    assert both.grid == network_grid


def smooth(grid, seed, voxels=3.0):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(1, 3, *grid.size)), (0, 0, 3, 3, 3))
    velocity = torch.from_numpy((voxels * noise / np.abs(noise).max()).astype(np.float32))
    return BidirectionalField(
        moving_to_fixed=exponentiate(velocity), fixed_to_moving=exponentiate(-velocity), grid=grid
    )


def itk_of(displacement, grid):
    array = Transform.from_voxels(displacement, grid).displacement_mm.transpose(2, 1, 0, 3).astype(np.float64)
    field = sitk.GetImageFromArray(array, isVector=True)
    field.SetOrigin(grid.origin)
    field.SetSpacing(grid.spacing)
    field.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(field)


@pytest.mark.parametrize("direction", ["moving_to_fixed", "fixed_to_moving"])
def test_composed_is_what_itk_composes(network_grid, direction):
    """ITK's composite applies the transform that was added last first, to points of what is filled."""
    first, second = smooth(network_grid, 0), smooth(network_grid, 1)
    pair = (first, second) if direction == "moving_to_fixed" else (second, first)
    itk = sitk.CompositeTransform([itk_of(getattr(field, direction), network_grid) for field in pair])
    found = Transform.from_voxels(getattr(second.compose(first), direction), network_grid)
    at = network_grid.points()[5:-5:3, 5:-5:3, 5:-5:3].reshape(-1, 3).astype(float)
    expected = np.array([itk.TransformPoint(point) for point in at.tolist()])
    np.testing.assert_allclose(found.transform_points(at), expected, atol=2e-3)
    assert np.abs(expected - at).max() > 4


def test_what_lies_on_another_grid_cannot_be_composed(network_grid, fixed):
    for other in (smooth(fixed, 0), smooth(Grid(network_grid.size, network_grid.spacing, (0, 0, 0)), 0)):
        with pytest.raises(GeometryError, match="different grids: resize one"):
            smooth(network_grid, 1).compose(other)


def test_swapping_exchanges_the_directions_and_turns_a_composition_around(network_grid):
    a, b = smooth(network_grid, 0), smooth(network_grid, 1)
    assert a.swap().moving_to_fixed is a.fixed_to_moving
    assert a.swap().swap().moving_to_fixed is a.moving_to_fixed
    one, other = a.compose(b).swap(), b.swap().compose(a.swap())
    assert torch.equal(one.moving_to_fixed, other.moving_to_fixed)
    assert torch.equal(one.fixed_to_moving, other.fixed_to_moving)


def test_the_inverse_residual_is_in_millimetres_along_each_axis():
    """Shifts of whole voxels that miss by one, two and three, of 2, 3 and 6 mm."""
    grid = Grid((12, 12, 12), (2.0, 3.0, 6.0), (0.0, 0.0, 0.0))
    forward, backward = torch.zeros(2, 1, 3, *grid.size).unbind()
    forward += torch.tensor([2.0, -1.0, 1.0]).view(1, 3, 1, 1, 1)
    backward += torch.tensor([-1.0, -1.0, 2.0]).view(1, 3, 1, 1, 1)
    field = BidirectionalField(moving_to_fixed=forward, fixed_to_moving=backward, grid=grid)
    torch.testing.assert_close(field.inverse_residual(), torch.full(grid.size, float(np.hypot(np.hypot(2, 6), 18))))


def test_an_exact_inverse_has_no_residual_and_a_wrong_one_has_by_order(network_grid):
    middle = network_grid.centre
    exact = field_of(network_grid, TURN, middle - TURN @ middle)
    assert inner(exact.inverse_residual()).max() < 1e-2
    stretched = field_of(network_grid, STRETCH, middle - STRETCH @ middle)
    wrong = BidirectionalField(
        moving_to_fixed=exact.moving_to_fixed, fixed_to_moving=stretched.fixed_to_moving, grid=network_grid
    )
    points = network_grid.points().astype(float) - middle
    backward = np.linalg.inv(STRETCH)
    for field, product in ((wrong, backward @ TURN), (wrong.swap(), TURN @ backward)):
        expected = np.linalg.norm(points @ product.T - points, axis=-1)
        np.testing.assert_allclose(inner(field.inverse_residual()), inner(expected), atol=1e-2)


@pytest.mark.parametrize("size", [(1, 18, 22), (0, 18, 22), (20, 18)])
def test_a_size_without_outermost_voxels_to_keep_is_refused(network_grid, size):
    with pytest.raises(GeometryError, match="at least two voxels along each of three axes, not "):
        smooth(network_grid, 0).resize(size)


def test_resizing_keeps_the_map_in_the_world(network_grid):
    """Of an affine map, which linear interpolation keeps; the corners stay where they are."""
    middle = network_grid.centre
    coarse = field_of(network_grid, TURN, middle - TURN @ middle + [3, -2, 1])
    fine = coarse.resize((39, 18, 64))
    np.testing.assert_allclose(fine.grid.corners(), network_grid.corners(), atol=1e-3)
    expected = field_of(fine.grid, TURN, middle - TURN @ middle + [3, -2, 1])
    torch.testing.assert_close(fine.moving_to_fixed, expected.moving_to_fixed, atol=1e-3, rtol=0)
    torch.testing.assert_close(fine.fixed_to_moving, expected.fixed_to_moving, atol=1e-3, rtol=0)
    rough = smooth(network_grid, 0)
    assert torch.equal(rough.resize((7, 8, 9)).moving_to_fixed, resize_displacement(rough.moving_to_fixed, (7, 8, 9)))


def test_the_identity_is_the_affine_alone(network_grid, fixed, moving):
    transforms = BidirectionalField.identity(network_grid).to_transforms(
        fixed=fixed, moving=moving, to_fixed=np.eye(4), to_moving=AFFINE
    )
    for transform, matrix in (
        (transforms.moving_to_fixed, AFFINE),
        (transforms.fixed_to_moving, np.linalg.inv(AFFINE)),
    ):
        x = transform.grid.points().astype(float)
        np.testing.assert_allclose(transform.displacement_mm, apply_matrix(matrix, x) - x, atol=2e-3)


def test_both_transforms_of_one_field_invert_each_other(network_grid, fixed, moving):
    """Each on its own scan's grid, with the affine within, and taken at points of that scan."""
    field = smooth(network_grid, 0, voxels=1.5)
    transforms = field.to_transforms(fixed=fixed, moving=moving, to_fixed=np.eye(4), to_moving=AFFINE)
    points = np.random.default_rng(0).uniform(-15, 15, (200, 3)) + [10, 20, 30]
    forward = transforms.moving_to_fixed.transform_points(points)
    assert np.linalg.norm(transforms.fixed_to_moving.transform_points(forward) - points, axis=1).max() < 0.5
    assert np.linalg.norm(forward - apply_matrix(AFFINE, points), axis=1).max() > 2


@pytest.mark.parametrize("shape", [(3, 20, 18, 22), (1, 3, 20, 18, 21), (2, 3, 20, 18, 22)])
def test_tensors_that_do_not_fit_the_grid_are_refused(network_grid, shape):
    with pytest.raises(InputError, match=r"fixed_to_moving has the shape .*: give \(1, 3, X, Y, Z\)"):
        BidirectionalField(
            moving_to_fixed=torch.zeros(1, 3, 20, 18, 22), fixed_to_moving=torch.zeros(shape), grid=network_grid
        )
    with pytest.raises(InputError, match="moving_to_fixed is a torch tensor"):
        BidirectionalField(
            moving_to_fixed=np.zeros((1, 3, 20, 18, 22)), fixed_to_moving=torch.zeros(1), grid=network_grid
        )


def test_grids_of_another_spacing_keep_the_outermost_centres(network_grid):
    for spacing in (2.5, 6.0, 7.0, 400.0):
        other = of_spacing(network_grid, spacing)
        np.testing.assert_allclose(other.corners(), network_grid.corners(), atol=1e-3)
        assert min(other.size) >= 2
    assert of_spacing(network_grid, 6.0) == network_grid
    assert of_spacing(network_grid, 3.0).size == (39, 35, 43)
    assert same_box(network_grid, (39, 35, 43)).spacing == pytest.approx((3, 3, 3))


HALF = np.array([[0.97, -0.05, 0.02, 4.0], [0.04, 1.03, -0.03, -3.0], [0.01, 0.02, 0.95, 6.0], [0, 0, 0, 1.0]])


def test_in_a_space_of_its_own_either_scan_bears_an_affine(network_grid, fixed, moving):
    """x = F(p) takes its value from M(p + u(p)), and y = M(p) from F(p + u(p))."""
    displacement = linear_displacement(network_grid, GRADIENT, SHIFT)
    both = BidirectionalField(moving_to_fixed=displacement, fixed_to_moving=displacement, grid=network_grid)
    transforms = both.to_transforms(fixed=fixed, moving=moving, to_fixed=HALF, to_moving=AFFINE)
    for transform, own, other in (
        (transforms.moving_to_fixed, HALF, AFFINE),
        (transforms.fixed_to_moving, AFFINE, HALF),
    ):
        x = transform.grid.points().astype(float)
        p = apply_matrix(np.linalg.inv(own), x)
        inside = within(network_grid, p)
        assert inside.mean() > 0.7
        expected = apply_matrix(other, p + u(p)) - x
        np.testing.assert_allclose(transform.displacement_mm[inside], expected[inside], atol=2e-3)


def test_swapping_exchanges_the_transforms(network_grid, fixed, moving):
    field = smooth(network_grid, 0, voxels=1.5)
    one = field.to_transforms(fixed=fixed, moving=moving, to_fixed=HALF, to_moving=AFFINE)
    other = field.swap().to_transforms(fixed=moving, moving=fixed, to_fixed=AFFINE, to_moving=HALF)
    np.testing.assert_array_equal(one.moving_to_fixed.displacement_mm, other.fixed_to_moving.displacement_mm)
    np.testing.assert_array_equal(one.fixed_to_moving.displacement_mm, other.moving_to_fixed.displacement_mm)
