"""Test-time refinement: inverse by construction, symmetric, blind where there is no data, and it helps."""

from dataclasses import replace

import pytest
import torch

from mics.deformation.field import compose, exponentiate, identity, logarithm, resize, warp
from mics.deformation.jacobian import fold_share
from mics.losses.overlap import bray_curtis_loss
from mics.registration.refine import refine
from mics.registration.refine_settings import Level, RefineSettings

SHAPE = (24, 20, 28)
SPACING = 8.0
SETTINGS = RefineSettings(levels=(Level(16, 16, 16, 30), Level(8, 8, 8, 40)), result_mm=SPACING, smoothness=0.1)


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
    """Smooth, up to a few times ``size`` voxels, and zero at the border, where a flow would leave the grid."""
    nodes = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(seed)) * size
    nodes = torch.nn.functional.pad(nodes, (1, 1, 1, 1, 1, 1))
    return resize(nodes, SHAPE)


@pytest.fixture(scope="module")
def fitted() -> tuple[torch.Tensor, torch.Tensor]:
    return refine(image(A), image(B), A, B, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)


def test_organs_overlap_better_in_both_directions(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    ab, ba = fitted
    assert bray_curtis_loss(warp(A, ab), B) < 0.5 * bray_curtis_loss(A, B)
    assert bray_curtis_loss(warp(B, ba), A) < 0.5 * bray_curtis_loss(B, A)


def test_directions_are_inverse_and_without_folds(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    ab, ba = fitted
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4), slice(4, -4))
    assert compose(ba, ab)[inner].norm(dim=1).mean() < 0.1
    assert fold_share(ab) == 0
    assert fold_share(ba) == 0
    assert ab.abs().max() > 2


def test_swapping_the_volumes_swaps_the_result(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Up to rounding, which the iterations amplify at single voxels."""
    ba, ab = refine(image(B), image(A), B, A, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    for found, expected in ((ab, fitted[0]), (ba, fitted[1])):
        assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_it_is_deterministic(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    again = refine(image(A), image(B), A, B, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    torch.testing.assert_close(again[0], fitted[0], rtol=0, atol=0)


def test_without_iterations_it_keeps_the_networks_field() -> None:
    velocity = smooth_velocity(1.5)
    ab, ba = exponentiate(velocity), exponentiate(-velocity)
    none = RefineSettings(levels=(Level(8, 8, 8, 0),), result_mm=SPACING)
    kept = refine(image(A), image(B), A, B, ab, ba, spacing_mm=SPACING, settings=none)
    size = ab.abs().mean()
    assert (kept[0] - ab).abs().mean() < 0.05 * size
    assert (kept[1] - ba).abs().mean() < 0.05 * size


def test_the_logarithm_is_a_velocity_of_the_given_flow() -> None:
    velocity = smooth_velocity(1.5)
    found = logarithm(exponentiate(velocity), exponentiate(-velocity))
    assert (found - velocity).abs().mean() < 0.1 * velocity.abs().mean()


def test_what_is_out_of_view_does_not_count() -> None:
    """B shows an organ in a part that A's scan does not cover: nothing may be pulled there."""
    valid = torch.ones(2, 1, *SHAPE)
    valid[0, ..., 14:] = 0
    a = torch.cat([A[:, :1], torch.zeros_like(A[:, 1:])], dim=1)
    b = torch.cat([A[:, :1], balls([(14, 12, 22)], 3.5)], dim=1)
    ab, _ = refine(image(a), image(b), a, b, STILL, STILL, spacing_mm=SPACING, valid=valid, settings=SETTINGS)
    seen_by_all, _ = refine(image(a), image(b), a, b, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    assert seen_by_all.abs().max() > 0.5
    assert ab.abs().mean() < 0.1 * seen_by_all.abs().mean()


def test_an_organ_that_is_guessed_at_hardly_counts() -> None:
    """Two maps pull to opposite sides; the one that is sure wins, whichever it is."""
    left, middle, right = (balls([(x, 10, 14)], 4.0) for x in (8, 12, 16))
    flat = torch.full((1, 1, *SHAPE), 0.5)
    found = []
    for sure, guess in ((left, right), (right, left)):
        a, b = torch.cat([middle, 0.2 * middle], dim=1), torch.cat([sure, 0.2 * guess], dim=1)
        ab, _ = refine(flat, flat, a, b, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
        found.append(float((ab[:, 0] * middle[:, 0]).sum() / middle.sum()))
    assert found[0] > 1 > -1 > found[1]


def test_a_thin_thing_at_the_border_of_a_thin_volume_is_no_obstacle() -> None:
    """On the coarse grid the volume is thinner than a cube of the local correlation, and so is what it shows."""
    a, b = torch.zeros(2, 1, 1, 24, 20, 4)
    a[..., :1, 8:12, :], b[..., :1, 9:13, :] = 0.8, 0.8
    still = torch.zeros(1, 3, 24, 20, 4)
    for field in refine(a, b, a, b, still, still, spacing_mm=SPACING, settings=SETTINGS):
        assert torch.isfinite(field).all()


def test_equal_volumes_stay_where_they_are() -> None:
    ab, ba = refine(image(A), image(A), A, A, STILL, STILL, spacing_mm=SPACING, settings=SETTINGS)
    assert ab.abs().max() == 0
    assert ba.abs().max() == 0


def test_descriptors_alone_see_past_an_inverted_contrast() -> None:
    """As between scanners or sequences, where correlation of the values still works, but a difference of them would not."""
    only = replace(SETTINGS, image=0.0, organs=0.0, descriptors=10.0, smoothness=0.02)
    nothing = torch.zeros_like(A)
    ab, _ = refine(image(A), 1 - image(B), nothing, nothing, STILL, STILL, spacing_mm=SPACING, settings=only)
    assert bray_curtis_loss(warp(A, ab), B) < 0.7 * bray_curtis_loss(A, B)


def test_a_finer_result_has_the_better_inverse(fitted: tuple[torch.Tensor, torch.Tensor]) -> None:
    fine = replace(SETTINGS, result_mm=SPACING / 2)
    ab, ba = refine(image(A), image(B), A, B, STILL, STILL, spacing_mm=SPACING, settings=fine)
    assert ab.shape == (1, 3, *(2 * n - 1 for n in SHAPE))
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8), slice(8, -8))
    coarse = compose(*reversed(fitted))[:, :, 4:-4, 4:-4, 4:-4].norm(dim=1).mean()
    # Its voxels are half as large.
    assert compose(ba, ab)[inner].norm(dim=1).mean() / 2 < 0.6 * coarse
