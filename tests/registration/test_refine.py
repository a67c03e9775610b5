"""Test-time refinement: inverse by construction, symmetric, blind where there is no data, and it helps."""

import pytest
import torch

from mics.deformation.field import compose, exponentiate, identity, resize_displacement, warp
from mics.deformation.jacobian import fold_share
from mics.losses.segmentation import dice_loss
from mics.registration.refine import RefineSettings, Stage, _logarithm, refine

SHAPE = (24, 20, 28)
SPACING = 8.0
SETTINGS = RefineSettings(stages=(Stage(16, 16, 25), Stage(16, 8, 10)))


def balls(centres: list[tuple[float, float, float]], radius: float) -> torch.Tensor:
    grid = identity(SHAPE)
    distances = [(grid - torch.tensor(c).view(1, 3, 1, 1, 1)).norm(dim=1) for c in centres]
    return torch.sigmoid(2 * (radius - torch.stack(distances, dim=1)))


A = balls([(8, 9, 10), (16, 11, 18)], 4.0)
B = balls([(11, 10, 9), (14, 12, 20)], 4.5)
STILL = torch.zeros(1, 3, *SHAPE)


def image(organs: torch.Tensor) -> torch.Tensor:
    return 0.2 + 0.6 * organs.amax(1, keepdim=True)


def smooth_velocity(size: float, seed: int = 0) -> torch.Tensor:
    nodes = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed)) * size
    return resize_displacement(nodes, SHAPE)


@pytest.fixture(scope="module")
def fitted() -> tuple[torch.Tensor, torch.Tensor]:
    return refine(image(A), image(B), A, B, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)


def test_organs_overlap_better_in_both_directions(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    ab, ba = fitted
    assert dice_loss(warp(A, ab), B) < 0.5 * dice_loss(A, B)
    assert dice_loss(warp(B, ba), A) < 0.5 * dice_loss(B, A)


def test_directions_are_inverse_and_without_folds(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    ab, ba = fitted
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4), slice(4, -4))
    assert compose(ab, ba)[inner].norm(dim=1).mean() < 0.1
    assert fold_share(ab) == 0 and fold_share(ba) == 0
    assert ab.abs().max() > 2


def test_swapping_the_volumes_swaps_the_result(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    ba, ab = refine(image(B), image(A), B, A, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    torch.testing.assert_close(ab, fitted[0], rtol=0, atol=0.02)
    torch.testing.assert_close(ba, fitted[1], rtol=0, atol=0.02)


def test_it_is_deterministic(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    again = refine(image(A), image(B), A, B, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    torch.testing.assert_close(again[0], fitted[0], rtol=0, atol=0)


def test_without_iterations_it_keeps_the_networks_field() -> None:
    velocity = smooth_velocity(0.5)
    ab, ba = exponentiate(velocity), exponentiate(-velocity)
    none = RefineSettings(stages=(Stage(8, 8, 0),))
    kept = refine(image(A), image(B), A, B, ab, ba, spacing_mm=SPACING, settings=none)
    assert (kept[0] - ab).abs().mean() < 0.05
    assert (kept[1] - ba).abs().mean() < 0.05


def test_the_logarithm_is_a_velocity_of_the_given_flow() -> None:
    velocity = smooth_velocity(0.7)
    found = _logarithm(exponentiate(velocity), exponentiate(-velocity))
    assert (found - velocity).abs().mean() < 0.05 * velocity.abs().mean()


def test_what_is_out_of_view_does_not_count() -> None:
    """B shows an organ in a part that A's scan does not cover: nothing may be pulled there."""
    hidden = torch.zeros_like(B)
    valid = torch.ones(2, 1, *SHAPE)
    valid[0, ..., 14:] = 0
    valid[1, ..., 14:] = 0
    b = torch.cat([A[:, :1], B[:, 1:]], dim=1)
    a = torch.cat([A[:, :1], hidden[:, 1:]], dim=1)
    ab, _ = refine(image(a), image(b), a, b, STILL, STILL, spacing_mm=SPACING, valid=valid, settings=SETTINGS)
    assert ab[..., :12].norm(dim=1).mean() < 0.1
