"""The refinement's steps: smooth in the gradient, and downhill."""

import pytest
import torch

from mics.registration.descent import Descent

SHAPE = (1, 3, 12, 10, 14)


def noise(size: float, seed: int = 0) -> torch.Tensor:
    return size * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def stepped(gradient: torch.Tensor) -> torch.Tensor:
    velocity = torch.zeros(SHAPE)
    Descent(velocity, 0.3, 10).step(velocity, gradient)
    return velocity


def test_the_first_step_is_the_rate_against_the_gradient_where_that_is_alike_everywhere() -> None:
    sign = torch.where(torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    torch.testing.assert_close(stepped(2e-5 * sign), -0.3 * sign, rtol=0.01, atol=0)


def test_rounding_where_nothing_pulls_is_no_step() -> None:
    """In one half the gradient is a ten-thousandth of the other's: Adam would move both alike."""
    gradient = noise(1e-5)
    gradient[:, :, :4] *= 1e-4
    found = stepped(gradient)
    assert found[:, :, 6:].abs().mean() > 0.1
    assert found[:, :, :3].abs().max() < 1e-3


@pytest.mark.parametrize("part", [1e-1, 1e-3])
def test_a_step_changes_in_proportion_to_the_gradient(part: float) -> None:
    gradient = noise(1e-5)
    change = stepped(gradient + noise(part * 1e-5, seed=1)) - stepped(gradient)
    # 0.3 voxels for a gradient of ordinary size; the neighbourhood's size may be smaller by a root of two.
    assert change.abs().mean() < 1.5 * part * 0.3


def test_it_does_not_depend_on_the_scale_of_the_loss() -> None:
    torch.testing.assert_close(stepped(noise(1e-2)), stepped(noise(1e-4)), rtol=0.01, atol=1e-4)


def test_without_a_gradient_nothing_moves() -> None:
    assert stepped(torch.zeros(SHAPE)).abs().max() == 0


def test_it_finds_the_least_of_a_bowl_whose_sides_differ_a_hundredfold() -> None:
    goal, steepness = noise(1.0), torch.ones(SHAPE)
    steepness[:, :, :6] = 100
    velocity = torch.zeros(SHAPE)
    descent = Descent(velocity, 0.3, 200)
    for _ in range(200):
        descent.step(velocity, 1e-4 * steepness * (velocity - goal))
    assert (velocity - goal).abs().mean() < 0.1 * goal.abs().mean()


@pytest.mark.parametrize(("still_counts", "square"), [(False, 1.0), (True, 0.75)])
def test_where_nothing_pulls_counts_only_if_asked_for(still_counts, square):
    """Half of the voxels have a gradient of 1, the others none: of the square, half is that around, 1, half that overall."""
    gradient = torch.zeros(1, 3, 12, 6, 6)
    gradient[:, :, :6] = 1.0
    velocity = torch.zeros_like(gradient)
    Descent(velocity, 0.1, 10, still_counts=still_counts).step(velocity, gradient)
    assert velocity[0, :, 2, 3, 3].tolist() == pytest.approx([-0.1 / square**0.5] * 3, rel=1e-5)
    assert not velocity[:, :, 8:].any()
