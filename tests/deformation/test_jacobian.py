import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from mics.deformation import jacobian as module
from mics.deformation.jacobian import fold_share, jacobian_determinant, nondiffeomorphic_volume

LINEAR = torch.tensor([[0.2, -0.1, 0.05], [0.1, -0.3, 0.0], [0.0, 0.15, 0.1]])


def indices(shape) -> torch.Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"))


def linear(matrix: torch.Tensor, shape=(6, 7, 8)) -> torch.Tensor:
    return torch.einsum("ij,jxyz->ixyz", matrix, indices(shape))[None]


def checkerboard(shape=(8, 8, 8), height: float = 0.8) -> torch.Tensor:
    """Neighbours along x pushed past each other in turn: central differences, two voxels apart, see nothing."""
    sign = 1 - 2 * (indices(shape).sum(dim=0) % 2)
    displacement = torch.zeros(1, 3, *shape)
    displacement[0, 0] = height * sign
    return displacement


def test_a_linear_map_has_one_determinant_up_to_the_border():
    expected = torch.linalg.det(torch.eye(3) + LINEAR)
    torch.testing.assert_close(jacobian_determinant(linear(LINEAR)), expected.expand(1, 6, 7, 8))


def test_the_derivative_of_a_smooth_map_is_the_analytic_one():
    shape = (40, 36, 32)
    x, y, z = indices(shape).double()
    displacement = torch.stack([2 * torch.sin(y / 9), 1.5 * torch.cos(z / 8), 1.2 * torch.sin(x / 7)])[None]
    a, b, c = 2 / 9 * torch.cos(y / 9), -1.5 / 8 * torch.sin(z / 8), 1.2 / 7 * torch.cos(x / 7)
    # the matrix is [[1, a, 0], [0, 1, b], [c, 0, 1]]
    expected = (1 + a * b * c).float()
    inner = (slice(1, -1),) * 3
    found = jacobian_determinant(displacement)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[inner], expected[inner], atol=2e-4, rtol=0)


def test_gradients_flow():
    displacement = (0.1 * torch.randn(1, 3, 4, 5, 4, dtype=torch.float32)).requires_grad_()
    jacobian_determinant(displacement).sum().backward()
    assert displacement.grad is not None
    assert displacement.grad.abs().max() > 0


def test_autocast_does_not_lower_the_precision():
    displacement = torch.randn(1, 3, 5, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = jacobian_determinant(displacement)
    assert torch.equal(inside, jacobian_determinant(displacement))


def test_fold_share_counts_voxels():
    # x doubles back over the slices 5 to 9: x -> 10 - x there
    displacement = torch.zeros(1, 3, 20, 4, 5)
    displacement[0, 0, 5:10] = (10 - 2 * torch.arange(5, 10, dtype=torch.float32))[:, None, None]
    slopes = np.gradient(np.arange(20) + displacement[0, 0, :, 0, 0].numpy())
    assert fold_share(displacement) == pytest.approx((slopes <= 0).mean())
    assert 0.1 < fold_share(displacement) < 0.4
    assert fold_share(torch.zeros(2, 3, 4, 4, 4)) == 0
    assert fold_share(linear(-torch.eye(3))) == 1  # everything in one point: zero counts as folded


def test_a_checkerboard_fold_is_missed_by_central_differences_and_caught_by_the_volume():
    displacement = checkerboard()
    inner = jacobian_determinant(displacement)[:, 1:-1, 1:-1, 1:-1]
    assert inner.min() > 0
    assert nondiffeomorphic_volume(displacement) > 1
    # pushed by less than half a voxel, neighbours stay in order along x and nothing folds
    assert nondiffeomorphic_volume(checkerboard(height=0.2)) == 0


def test_maps_without_folds_have_no_folded_volume():
    assert nondiffeomorphic_volume(torch.zeros(1, 3, 5, 6, 7)) == 0
    assert nondiffeomorphic_volume(linear(LINEAR)) == 0


def test_a_mirrored_volume_is_folded_all_over():
    mirror = torch.diag(torch.tensor([-2.0, 0, 0]))
    # every tetrahedron is inside out, so the folded volume is the whole
    assert nondiffeomorphic_volume(linear(mirror)) == pytest.approx(100)
    # and twice as large when it is stretched as well
    assert nondiffeomorphic_volume(linear(torch.diag(torch.tensor([-2.0, 1, 0])))) == pytest.approx(200)


def tetrahedra(parity: int) -> list[tuple]:
    """The five tetrahedra of the unit cube whose middle one has the corners of this parity."""
    corners = list(itertools.product((0, 1), repeat=3))
    middle = [corner for corner in corners if sum(corner) % 2 == parity]
    at_corners = [
        [corner, *[other for other in middle if np.abs(np.subtract(other, corner)).sum() == 1]]
        for corner in corners
        if corner not in middle
    ]
    return [tuple(middle), *map(tuple, at_corners)]


def test_the_ten_tetrahedra_fill_the_cube_twice():
    for parity in (0, 1):
        assert sum(ConvexHull(np.array(t)).volume for t in tetrahedra(parity)) == pytest.approx(1)


def test_folded_volume_is_that_of_the_tetrahedra_turned_inside_out():
    """Every cell cut up by hand, the signed volumes by the triple product, the cells at the border left out.

    A periodic field makes cells and voxels the same in number, so that the border does not matter.
    """
    period = 4
    rng = np.random.default_rng(0)
    block = rng.normal(scale=0.6, size=(3, period, period, period))
    tiles = np.tile(block, (1, 3, 3, 3))[:, : 2 * period + 2, : 2 * period + 2, : 2 * period + 2]
    displacement = torch.from_numpy(tiles.astype(np.float32))[None]
    folded = 0.0
    for cell in itertools.product(range(period), repeat=3):
        for parity in (0, 1):
            for vertices in tetrahedra(parity):
                before = np.array([np.add(cell, vertex) for vertex in vertices], dtype=float)
                after = np.array([p + block[(slice(None), *(p.astype(int) % period))] for p in before])
                volume, image = (np.linalg.det(v[1:] - v[0]) / 6 for v in (before, after))
                folded += max(0.0, -image * np.sign(volume)) / 2
    assert nondiffeomorphic_volume(displacement) == pytest.approx(100 * folded / period**3, rel=1e-4)
    assert folded > 0


def test_slabs_leave_no_seam(monkeypatch):
    displacement = torch.from_numpy(
        np.random.default_rng(1).normal(scale=0.5, size=(1, 3, 11, 6, 5)).astype(np.float32)
    )
    whole = fold_share(displacement), nondiffeomorphic_volume(displacement)
    monkeypatch.setattr(module, "CACHED_VOXELS", 6 * 5 * 3)
    assert fold_share(displacement) == whole[0]
    assert nondiffeomorphic_volume(displacement) == pytest.approx(whole[1])
    assert (jacobian_determinant(displacement) <= 0).float().mean().item() == pytest.approx(whole[0])


def test_a_grid_too_thin_for_tetrahedra():
    with pytest.raises(ValueError, match="three voxels"):
        nondiffeomorphic_volume(torch.zeros(1, 3, 2, 5, 5))
