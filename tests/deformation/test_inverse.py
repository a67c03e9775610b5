"""Displacements that nearly invert each other, corrected: against affine maps, a hand-computed step, and what is left."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mics.deformation import inverse, jacobian
from mics.deformation.field import compose, exponentiate, identity, invert, resize_displacement
from mics.deformation.inverse import correct_inverse_consistency, regularise_sharp_bends, upsample_and_correct


def bumps(seed: int, shape: tuple[int, int, int], size: float) -> torch.Tensor:
    """A smooth random displacement (1, 3, *shape) of up to ``size`` voxels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(1, 3, *shape)), (0, 0, 4, 4, 4))
    return torch.from_numpy((size * noise / np.abs(noise).max()).astype(np.float32))


def inner(tensor: torch.Tensor, margin: int) -> torch.Tensor:
    return tensor[..., margin:-margin, margin:-margin, margin:-margin]


def test_corrected_displacements_that_invert_each_other_stay():
    shape, matrix = (15, 15, 15), torch.tensor([[0.10, -0.05, 0.0], [0.05, -0.08, 0.02], [0.0, 0.03, 0.06]])
    centred = identity(shape) - 7
    inverse = torch.linalg.inv(torch.eye(3) + matrix) - torch.eye(3)
    forward, backward = (torch.einsum("ij,bjxyz->bixyz", linear, centred) for linear in (matrix, inverse))
    for found, given in zip(correct_inverse_consistency(forward, backward), (forward, backward), strict=True):
        torch.testing.assert_close(inner(found, 3), inner(given, 3), atol=1e-5, rtol=0)


def test_corrected_stretching_and_shrinking_meet_in_the_middle():
    """Along one axis, x → 3x and y → y/3 + 0.1: half is taken off each in its own measure, 3 times as much there."""
    shape = (61, 9, 9)
    along = identity(shape)[:, :1] - 30
    still = torch.zeros(1, 2, *shape)
    forward, backward = (torch.cat([part, still], dim=1) for part in (2 * along, 0.1 - 2 / 3 * along))
    corrected_forward, corrected_backward = correct_inverse_consistency(forward, backward)
    middle = (0, 0, slice(29, 32), 4, 4)
    torch.testing.assert_close(corrected_forward[middle], forward[middle] - 3 * 0.1 / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(corrected_backward[middle], backward[middle] - 0.1 / 2, atol=1e-5, rtol=0)
    assert compose(corrected_forward, corrected_backward)[middle].abs().max() < 1e-5


def test_what_bends_too_sharply_is_smoothed_there_and_nowhere_else():
    """A hill steeper than one: nothing inverts it, and Newton's method alone leaves four voxels of the five."""
    shape = (40, 40, 41)
    place = identity(shape)
    hill = 5 * torch.exp(
        -((place - torch.tensor([12.0, 20.0, 20.0]).view(1, 3, 1, 1, 1)) / 1.3).square().sum(dim=1) / 2
    )
    forward = bumps(3, shape, 2)
    forward[:, 0] += hill
    backward = invert(forward)
    ab, ba = regularise_sharp_bends(*correct_inverse_consistency(forward, backward))
    before, after = (compose(*pair).norm(dim=1) for pair in ((forward, backward), (ab, ba)))
    assert before.max() > 4
    assert after.max() < 0.5
    far = (slice(None), slice(None), slice(26, 38), slice(2, 38), slice(2, 38))
    assert (ab - forward)[far].abs().max() < 0.05


def test_what_is_far_off_moves_by_half_a_voxel_each_in_every_step():
    """Along one axis, x → x + 10 and x → x: Newton's method would move each by five at once, where its step is uncertain."""
    forward, backward = torch.zeros(1, 3, 31, 9, 9), torch.zeros(1, 3, 31, 9, 9)
    forward[:, 0] = 10
    ab, ba = correct_inverse_consistency(forward, backward)
    middle = (0, slice(None), 15, 4, 4)
    torch.testing.assert_close(ab[middle], torch.tensor([10 - 3 * 0.5, 0, 0]))
    torch.testing.assert_close(ba[middle], torch.tensor([-3 * 0.5, 0, 0]))


def test_what_is_little_off_is_met_at_once():
    forward, backward = torch.zeros(1, 3, 31, 9, 9), torch.zeros(1, 3, 31, 9, 9)
    forward[:, 0] = 0.5
    ab, ba = correct_inverse_consistency(forward, backward)
    middle = (0, slice(None), 15, 4, 4)
    torch.testing.assert_close(ab[middle], torch.tensor([0.25, 0, 0]))
    torch.testing.assert_close(ba[middle], torch.tensor([-0.25, 0, 0]))


def test_all_that_smoothing_changes_is_corrected_again():
    """Places at each distance from the voxels that smoothing averages, which are every second one, and at the border."""
    shape = (24, 23, 22)
    both = torch.cat([bumps(seed, shape, 3) + torch.rand(1, 3, *shape) for seed in (1, 2)])
    for place in [(12, 11, 10), (11, 12, 11), (13, 10, 12), (0, 0, 0), (23, 22, 21), (1, 21, 9)]:
        sharp = torch.zeros(2, 1, *shape, dtype=torch.bool)
        sharp[(1, 0, *place)] = True
        changed = (inverse._smoothed(both, sharp) != both).any(dim=1).any(dim=0)
        assert changed[place]
        assert not (changed & ~inverse._near(sharp)).any()


def test_correction_mends_a_spoiled_inverse_alike_for_both_directions():
    velocity = bumps(16, (24, 24, 24), 4)
    forward, backward = exponentiate(velocity), exponentiate(-velocity) + bumps(17, (24, 24, 24), 0.5)
    ab, ba = correct_inverse_consistency(forward, backward)
    for corrected, spoiled in (((ab, ba), (forward, backward)), ((ba, ab), (backward, forward))):
        after, before = (inner(compose(*pair), 7).norm(dim=1) for pair in (corrected, spoiled))
        assert after.mean() < before.mean() / 5
        assert after.max() < before.max() / 2
    exchanged = correct_inverse_consistency(backward, forward)
    torch.testing.assert_close(exchanged, (ba, ab))


def test_what_is_missed_between_the_voxels_is_corrected_on_a_finer_grid():
    velocity = bumps(16, (24, 24, 24), 6)
    ab, ba = correct_inverse_consistency(exponentiate(velocity), exponentiate(-velocity))
    finer = (47, 47, 47)
    interpolated = [resize_displacement(displacement, finer) for displacement in (ab, ba)]
    corrected = upsample_and_correct(ab, ba, finer)
    before, after = (
        inner(compose(backward, forward), 14).norm(dim=1) for forward, backward in (interpolated, corrected)
    )
    assert after.mean() < before.mean() / 2
    assert after.max() < 0.7 * before.max()
    for new, old in zip(corrected, interpolated, strict=True):
        assert inner(new - old, 14).norm(dim=1).max() <= before.max()


def test_slabs_leave_no_seam(monkeypatch):
    forward, backward = exponentiate(bumps(16, (23, 9, 8), 2)), exponentiate(bumps(17, (23, 9, 8), 2))
    whole = correct_inverse_consistency(forward, backward)
    monkeypatch.setattr(jacobian, "CACHED_VOXELS", 200)
    assert len(list(jacobian.slabs(forward))) > 5
    torch.testing.assert_close(correct_inverse_consistency(forward, backward), whole, atol=1e-5, rtol=0)
