import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from mics.deformation.field import (
    compose,
    downsample,
    exponentiate,
    identity,
    integrate,
    invert,
    resize,
    resize_displacement,
    sample,
    voxel_ratio,
    warp,
)

SHAPE = (10, 12, 9)


def smooth(seed: int = 0, shape=SHAPE, size: float = 1.0, channels: int = 3, batch: int = 1) -> torch.Tensor:
    """A smooth random tensor (batch, channels, *shape) with values up to ``size``."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(batch, channels, *shape)), (0, 0, 4, 4, 4))
    return torch.from_numpy((size * noise / np.abs(noise).max()).astype(np.float32))


def inner(tensor: torch.Tensor, margin: int = 3) -> torch.Tensor:
    return tensor[..., margin:-margin, margin:-margin, margin:-margin]


def translation(vector, shape=SHAPE) -> torch.Tensor:
    return torch.tensor(vector, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


def test_identity_holds_the_voxel_indices():
    assert np.array_equal(identity(SHAPE)[0].numpy(), np.indices(SHAPE))


# --- warp -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(10, 12, 9), (7, 5, 6)])
def test_warp_is_scipys_interpolation(shape, batch):
    volume, displacement = smooth(1, shape, 100, channels=2, batch=batch), smooth(2, shape, 2, batch=batch)
    warped = warp(volume, displacement)
    assert warped.shape == volume.shape
    for b in range(batch):
        there = np.indices(shape) + displacement[b].numpy()
        for c in range(2):
            expected = map_coordinates(volume[b, c].numpy(), there, order=1, mode="nearest")
            np.testing.assert_allclose(warped[b, c].numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    volume, displacement = smooth(1, size=100, channels=2), smooth(2, size=2)
    expected = warp(volume.expand(2, -1, -1, -1, -1), displacement.expand(2, -1, -1, -1, -1))[:1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.testing.assert_close(warp(volume, displacement), expected)


@pytest.mark.parametrize("channels", [3, 8])
def test_one_volume_and_positions_of_two_are_refused(channels):
    with pytest.raises((RuntimeError, ValueError)):
        sample(torch.zeros(1, channels, 4, 5, 6), torch.zeros(2, 3, 4, 5, 6))


def test_a_channel_moves_along_its_own_axis_and_pulls():
    volume = torch.zeros(1, 1, *SHAPE)
    volume[0, 0, 6, 4, 3] = 1
    for axis, place in enumerate([(4, 4, 3), (6, 2, 3), (6, 4, 1)]):
        vector = [0.0, 0.0, 0.0]
        vector[axis] = 2
        assert torch.nonzero(warp(volume, translation(vector))[0, 0]).tolist() == [list(place)]


def test_nearest_invents_no_label_and_zeros_lie_beyond():
    labels = torch.randint(1, 14, (1, 1, *SHAPE), generator=torch.Generator().manual_seed(0)).float()
    warped = warp(labels, smooth(3, size=3), mode="nearest", padding="zeros")
    assert set(warped.unique().tolist()) <= set(range(14))
    beyond = warp(labels, translation([20.0, 0, 0]), padding="zeros")
    border = warp(labels, translation([20.0, 0, 0]))
    assert not beyond.any()
    torch.testing.assert_close(border, labels[:, :, -1:].expand_as(labels))


def test_a_displacement_may_cover_less_than_the_volume():
    volume, displacement = smooth(1, channels=1), smooth(2)
    part = displacement[:, :, :6, :7, :5]
    torch.testing.assert_close(warp(volume, part), warp(volume, displacement)[:, :, :6, :7, :5])


def test_geometry_is_single_precision_under_autocast():
    volume, displacement = smooth(1, size=100, channels=1), smooth(2, size=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        warped, integrated = warp(volume, displacement), integrate(1 + 0.1 * smooth(3))
    assert torch.equal(warped, warp(volume, displacement))
    assert torch.equal(integrated, integrate(1 + 0.1 * smooth(3)))


# --- integration ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ["first_voxel", "line_mean"])
def test_gradients_of_one_are_the_identity(anchor):
    assert not integrate(torch.ones(2, 3, *SHAPE), anchor=anchor).any()


@pytest.mark.parametrize("anchor", ["first_voxel", "line_mean"])
def test_the_predicted_gradients_come_back_as_derivatives(anchor):
    gradients = 1 + 0.5 * torch.tanh(smooth(4, size=2))
    displacement = integrate(gradients, anchor=anchor, offset=smooth(5) if anchor == "line_mean" else None)
    for axis in range(3):
        difference = torch.diff(displacement[:, axis], dim=axis + 1)
        expected = gradients[:, axis].narrow(axis + 1, 1, SHAPE[axis] - 1) - 1
        torch.testing.assert_close(difference, expected, atol=1e-5, rtol=0)


def test_positive_gradients_keep_neighbours_in_order():
    gradients = 2 * torch.sigmoid(2 * torch.randn(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0)))
    for anchor in ("first_voxel", "line_mean"):
        there = identity(SHAPE) + integrate(gradients, anchor=anchor, offset=smooth(6))
        for axis in range(3):
            assert torch.diff(there[:, axis], dim=axis + 1).min() > 0


def test_the_papers_anchor_is_the_cumulative_sum():
    gradients = 1 + 0.2 * smooth(7)
    x = (
        np.cumsum(gradients[0, 0].numpy().astype(np.float64), axis=0) - 1
    )  # Φ at the first voxel: its own derivative - 1
    expected = x - np.arange(SHAPE[0])[:, None, None]
    np.testing.assert_allclose(integrate(gradients, anchor="first_voxel")[0, 0].numpy(), expected, atol=1e-5)


def test_line_mean_represents_a_translation():
    shift = translation([2.0, -1.0, 0.5])
    torch.testing.assert_close(integrate(torch.ones_like(shift), offset=shift), shift)


def test_line_mean_of_a_crop_agrees_with_the_volume():
    displacement = smooth(8, shape=(16, 14, 12), size=2)
    gradients = torch.ones_like(displacement)
    for axis in range(3):
        difference = torch.diff(displacement[:, axis], dim=axis + 1)
        gradients[:, axis].narrow(axis + 1, 1, displacement.shape[axis + 2] - 1).add_(difference)
    whole = integrate(gradients, offset=displacement)
    crop = (slice(None), slice(None), slice(3, 12), slice(2, 11), slice(4, 12))
    torch.testing.assert_close(whole, displacement, atol=1e-4, rtol=0)
    torch.testing.assert_close(integrate(gradients[crop], offset=displacement[crop]), whole[crop], atol=1e-4, rtol=0)


# --- composition, exponential, inverse --------------------------------------------------------------------------------


def test_composed_is_one_warp_after_the_other():
    shape = (24, 22, 20)
    first, second = smooth(9, shape, 3), smooth(10, shape, 3)
    # A volume that is linear is not blurred by the interpolation in between.
    volume = (identity(shape) * torch.tensor([2.0, -1.0, 3.0]).view(1, 3, 1, 1, 1)).sum(dim=1, keepdim=True)
    twice, once = warp(warp(volume, first), second), warp(volume, compose(second, first))
    torch.testing.assert_close(inner(once, 5), inner(twice, 5), atol=1e-3, rtol=0)
    other_way = warp(volume, compose(first, second))
    assert (inner(once, 5) - inner(other_way, 5)).abs().max() > 0.1  # the order matters, and this test sees it


def test_the_exponential_of_a_linear_velocity_is_the_matrix_exponential():
    shape, matrix = (21, 21, 21), torch.tensor([[0.05, 0.08, 0.0], [-0.08, 0.02, 0.03], [0.0, -0.03, -0.06]])
    centred = identity(shape) - 10
    velocity = torch.einsum("ij,bjxyz->bixyz", matrix, centred)
    expected = torch.einsum("ij,bjxyz->bixyz", torch.linalg.matrix_exp(matrix) - torch.eye(3), centred)
    torch.testing.assert_close(inner(exponentiate(velocity), 5), inner(expected, 5), atol=1e-3, rtol=0)


def test_the_exponential_of_minus_the_velocity_is_the_inverse():
    velocity = smooth(11, (24, 24, 24), 4)
    forward, backward = exponentiate(velocity), exponentiate(-velocity)
    assert inner(forward, 6).abs().max() > 1
    for pair in ((forward, backward), (backward, forward)):
        assert inner(compose(*pair), 6).abs().max() < 0.1


def test_the_exponential_of_zero_is_the_identity():
    assert not exponentiate(torch.zeros(1, 3, *SHAPE)).any()


def test_inverse_of_an_affine_displacement():
    shape, matrix = (21, 21, 21), torch.tensor([[0.10, -0.05, 0.0], [0.05, -0.08, 0.02], [0.0, 0.03, 0.06]])
    centred = identity(shape) - 10
    displacement = torch.einsum("ij,bjxyz->bixyz", matrix, centred)
    expected = torch.einsum("ij,bjxyz->bixyz", torch.linalg.inv(torch.eye(3) + matrix) - torch.eye(3), centred)
    torch.testing.assert_close(inner(invert(displacement), 5), inner(expected, 5), atol=1e-3, rtol=0)


def test_inverse_undoes_a_smooth_displacement_both_ways():
    displacement = smooth(12, (24, 24, 24), 1.5)
    inverse = invert(displacement)
    assert inner(compose(inverse, displacement), 5).abs().max() < 1e-5
    assert inner(compose(displacement, inverse), 5).abs().max() < 0.1


# --- resizing ---------------------------------------------------------------------------------------------------------


def test_a_resized_displacement_leads_to_the_same_places():
    """An affine map of the corner-to-corner coordinates stays that map, whatever the number of voxels."""
    matrix = torch.tensor([[0.1, 0.02, 0.0], [-0.03, 0.05, 0.0], [0.0, 0.04, -0.1]])

    def displacement(shape) -> torch.Tensor:
        span = torch.tensor([n - 1.0 for n in shape]).view(1, 3, 1, 1, 1)
        return torch.einsum("ij,bjxyz->bixyz", matrix, identity(shape) / span) * span

    small, large = (6, 7, 5), (13, 10, 17)
    torch.testing.assert_close(resize_displacement(displacement(small), large), displacement(large), atol=1e-4, rtol=0)
    torch.testing.assert_close(resize_displacement(displacement(large), small), displacement(small), atol=1e-4, rtol=0)
    assert voxel_ratio(small, large).flatten().tolist() == pytest.approx([12 / 5, 9 / 6, 16 / 4])


def test_resize_keeps_the_corners():
    volume = smooth(13, channels=2)
    resized = resize(volume, (5, 23, 11))
    assert resized.shape == (1, 2, 5, 23, 11)
    corner = (slice(None), slice(None), slice(None, None, 100), slice(-1, None), slice(-1, None))
    torch.testing.assert_close(resized[corner], volume[corner])
    assert resize(volume, SHAPE) is volume


def test_gradients_flow_through_all_of_it():
    velocity = smooth(14).requires_grad_()
    volume = smooth(15, channels=1)
    warp(volume, compose(invert(velocity, iterations=3), exponentiate(velocity))).square().mean().backward()
    assert torch.isfinite(velocity.grad).all()
    assert velocity.grad.abs().max() > 0


def test_coarser_volumes_are_averages_of_finer_ones() -> None:
    """Of a step within a voxel of the coarse grid, half; of a ramp, itself."""
    step, ramp = torch.zeros(2, 1, 1, 21, 9, 9)
    step[:, :, 10:] = 1
    step[:, :, 10] = 0.5
    ramp += torch.arange(21).view(-1, 1, 1)
    coarse = downsample(torch.cat([step, ramp], dim=1), (11, 5, 5))
    assert coarse.shape == (1, 2, 11, 5, 5)
    assert coarse[0, 0, :, 2, 2].tolist() == pytest.approx([0] * 5 + [0.5] + [1] * 5)
    torch.testing.assert_close(coarse[0, 1, 1:-1, 2, 2], torch.arange(2.0, 19.0, 2))
    torch.testing.assert_close(downsample(ramp, (21, 9, 9)), ramp)


def test_an_axis_that_stays_is_not_averaged() -> None:
    volume = torch.rand(1, 1, 21, 4, 9, generator=torch.Generator().manual_seed(0))
    found = downsample(volume, (21, 4, 5))
    expected = (volume[..., 1:-2:2] + 2 * volume[..., 2:-1:2] + volume[..., 3::2]) / 4
    torch.testing.assert_close(found[..., 1:-1], expected)
