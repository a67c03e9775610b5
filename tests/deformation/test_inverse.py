"""Displacements that nearly invert each other, reconciled: against affine maps, a hand-computed step, and what is left."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mics.deformation import jacobian
from mics.deformation.field import compose, exponentiate, identity
from mics.deformation.inverse import reconcile


def bumps(seed: int, shape: tuple[int, int, int], size: float) -> torch.Tensor:
    """A smooth random displacement (1, 3, *shape) of up to ``size`` voxels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(1, 3, *shape)), (0, 0, 4, 4, 4))
    return torch.from_numpy((size * noise / np.abs(noise).max()).astype(np.float32))


def inner(tensor: torch.Tensor, margin: int) -> torch.Tensor:
    return tensor[..., margin:-margin, margin:-margin, margin:-margin]


def test_reconciled_displacements_that_invert_each_other_stay():
    shape, matrix = (15, 15, 15), torch.tensor([[0.10, -0.05, 0.0], [0.05, -0.08, 0.02], [0.0, 0.03, 0.06]])
    centred = identity(shape) - 7
    inverse = torch.linalg.inv(torch.eye(3) + matrix) - torch.eye(3)
    there, back = (torch.einsum("ij,bjxyz->bixyz", linear, centred) for linear in (matrix, inverse))
    for found, given in zip(reconcile(there, back), (there, back), strict=True):
        torch.testing.assert_close(inner(found, 3), inner(given, 3), atol=1e-5, rtol=0)


def test_reconciled_stretching_and_shrinking_meet_in_the_middle():
    """Along one axis, x → 3x and y → y/3 + 0.1: a step takes half off each in its own measure, 3 times as much there."""
    shape = (31, 5, 5)
    along = identity(shape)[:, :1] - 15
    still = torch.zeros(1, 2, *shape)
    there, back = (torch.cat([part, still], dim=1) for part in (2 * along, 0.1 - 2 / 3 * along))
    mended_there, mended_back = reconcile(there, back, iterations=1)
    middle = (0, 0, slice(13, 18), 2, 2)
    torch.testing.assert_close(mended_there[middle], there[middle] - 3 * 0.1 / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(mended_back[middle], back[middle] - 0.1 / 2, atol=1e-5, rtol=0)
    assert compose(mended_back, mended_there)[middle].abs().max() < 1e-5


def test_reconciling_mends_a_spoiled_inverse_alike_for_both_directions():
    velocity = bumps(16, (24, 24, 24), 4)
    there, back = exponentiate(velocity), exponentiate(-velocity) + bumps(17, (24, 24, 24), 0.5)
    ab, ba = reconcile(there, back)
    for mended, spoiled in (((ab, ba), (there, back)), ((ba, ab), (back, there))):
        left, missed = (inner(compose(*pair), 7).norm(dim=1) for pair in (mended, spoiled))
        assert left.mean() < missed.mean() / 5
        assert left.max() < missed.max() / 2
    exchanged = reconcile(back, there)
    torch.testing.assert_close(exchanged, (ba, ab))


def test_slabs_leave_no_seam(monkeypatch):
    there, back = exponentiate(bumps(16, (23, 9, 8), 2)), exponentiate(bumps(17, (23, 9, 8), 2))
    whole = reconcile(there, back)
    monkeypatch.setattr(jacobian, "CACHED_VOXELS", 200)
    assert len(list(jacobian.slabs(there))) > 5
    torch.testing.assert_close(reconcile(there, back), whole, atol=1e-5, rtol=0)
