"""Landmarks met to a tolerance, without folds, the same both ways round."""

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from mics.deformation.field import compose, exponentiate, resize
from mics.deformation.jacobian import fold_share, nondiffeomorphic_volume
from mics.registration.landmark_fit import fit_landmarks

SHAPE, SPACING = (25, 23, 24), np.array([3.0, 3.0, 3.2])
NODES = 0.7 * torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(3))
VELOCITY = resize(torch.nn.functional.pad(NODES, (1,) * 6), SHAPE)
START = exponentiate(VELOCITY), exponentiate(-VELOCITY)


def fit(
    fixed: np.ndarray, moving: np.ndarray, tolerance_mm: float = 1.0, start: tuple = START
) -> tuple[torch.Tensor, torch.Tensor]:
    forward, backward = start
    return fit_landmarks(
        moving_to_fixed=forward,
        fixed_to_moving=backward,
        fixed=fixed,
        moving=moving,
        spacing_mm=SPACING,
        tolerance_mm=tolerance_mm,
    )


def missed_mm(found: tuple, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """By how much each landmark is missed by the worse of both directions; interpolated by scipy."""
    misses = []
    for displacement, starts, ends in zip(found, (fixed, moving), (moving, fixed), strict=True):
        moved = [map_coordinates(axis, starts.T, order=1, mode="nearest") for axis in displacement[0].numpy()]
        misses.append(np.linalg.norm((ends - starts - np.stack(moved, axis=-1)) * SPACING, axis=1))
    return np.maximum(*misses)


def scattered(count: int, apart_mm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in the inner half of the volume, and their counterparts, moved by the start and about ``apart_mm`` more."""
    random = np.random.default_rng(seed)
    fixed = random.uniform(7, 16, (count, 3))
    return fixed, fixed + random.normal(0, apart_mm / 3 / np.sqrt(3), (count, 3))


def test_they_are_met_and_the_two_ways_stay_inverse():
    fixed = np.array(list(itertools.product((8.0, 15.0), repeat=3)))
    moving = fixed + np.random.default_rng(1).normal(0, 1, (8, 3))
    found = fit(fixed, moving)
    assert missed_mm(START, fixed, moving).max() > 3
    assert missed_mm(found, fixed, moving).max() <= 1.0
    for displacement in found:
        assert fold_share(displacement) == nondiffeomorphic_volume(displacement) == 0
    inner = (..., slice(6, -6), slice(6, -6), slice(6, -6))
    assert compose(*reversed(found))[inner].norm(dim=1).max() < 0.35
    far = found[0] - START[0]
    assert far[:, :, -1, -1, -1].norm() < 0.35 * far.norm(dim=1).max()


def test_swapping_the_scans_swaps_the_directions():
    fixed, moving = scattered(5, 6.0, 2)
    moving_to_fixed, _ = fit(fixed, moving)
    _, swapped = fit(moving, fixed, start=START[::-1])
    torch.testing.assert_close(moving_to_fixed, swapped, atol=1e-5, rtol=0)


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6), apart=st.floats(1, 40))
def test_nothing_folds_whatever_they_ask_for(seed, apart):
    fixed, moving = scattered(4, apart, seed)
    found = fit(fixed, moving)
    assert missed_mm(found, fixed, moving).mean() <= missed_mm(START, fixed, moving).mean() + 1e-4
    assert max(fold_share(displacement) for displacement in found) == 0


def test_two_that_change_places_are_not_met():
    """2 mm apart, and each where the other is: nothing without a fold can do it."""
    fixed = np.array([[12.0, 11.0, 12.0], [12.6, 11.0, 12.0]])
    still = torch.zeros(1, 3, *SHAPE)
    moving = fixed[::-1].copy()
    found = fit(fixed, moving, start=(still, still))
    assert missed_mm(found, fixed, moving).max() > 1.0
    assert fold_share(found[0]) == 0


def test_what_is_met_already_stays_as_it_is():
    fixed = np.array([[12.0, 12.0, 12.0]])
    still = torch.zeros(1, 3, *SHAPE)
    found = fit(fixed, fixed.copy(), start=(still, still))
    assert all(torch.equal(displacement, still) for displacement in found)
