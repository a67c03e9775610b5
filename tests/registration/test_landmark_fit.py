"""Landmarks met to a tolerance, without folds, the same both ways round."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mics.deformation.field import compose, exponentiate, resize
from mics.deformation.jacobian import fold_share, nondiffeomorphic_volume
from mics.registration.landmark_fit import fit_landmarks

SHAPE, SPACING = (25, 23, 24), np.array([3.0, 3.0, 3.2])
NODES = 0.7 * torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(3))
VELOCITY = resize(torch.nn.functional.pad(NODES, (1,) * 6), SHAPE)
START = exponentiate(VELOCITY), exponentiate(-VELOCITY)


def fit(fixed: np.ndarray, moving: np.ndarray, tolerance_mm: float = 1.0, start: tuple = START) -> object:
    return fit_landmarks(*start, fixed=fixed, moving=moving, spacing_mm=SPACING, tolerance_mm=tolerance_mm)


def scattered(count: int, apart_mm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in the inner half of the volume, and their counterparts, moved by the start and about ``apart_mm`` more."""
    random = np.random.default_rng(seed)
    fixed = random.uniform(7, 16, (count, 3))
    return fixed, fixed + random.normal(0, apart_mm / 3 / np.sqrt(3), (count, 3))


def test_they_are_met_and_the_two_ways_stay_inverse():
    fixed = np.array(list(itertools.product((8.0, 15.0), repeat=3)))
    moving = fixed + np.random.default_rng(1).normal(0, 1, (8, 3))
    found = fit(fixed, moving)
    assert found.before_mm.max() > 3
    assert found.after_mm.max() <= 1.0
    for way in (found.moving_to_fixed, found.fixed_to_moving):
        assert fold_share(way) == nondiffeomorphic_volume(way) == 0
    inner = (..., slice(6, -6), slice(6, -6), slice(6, -6))
    assert compose(found.moving_to_fixed, found.fixed_to_moving)[inner].norm(dim=1).max() < 0.35
    far = found.moving_to_fixed - START[0]
    assert far[:, :, -1, -1, -1].norm() < 0.35 * far.norm(dim=1).max()


def test_swapping_the_scans_swaps_the_ways():
    fixed, moving = scattered(5, 6.0, 2)
    there, back = fit(fixed, moving), fit(moving, fixed, start=START[::-1])
    torch.testing.assert_close(there.moving_to_fixed, back.fixed_to_moving, atol=1e-5, rtol=0)


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6), apart=st.floats(1, 40))
def test_nothing_folds_whatever_they_ask_for(seed, apart):
    fixed, moving = scattered(4, apart, seed)
    found = fit(fixed, moving)
    assert found.after_mm.mean() <= found.before_mm.mean() + 1e-6
    assert max(fold_share(way) for way in (found.moving_to_fixed, found.fixed_to_moving)) == 0


def test_two_that_change_places_are_not_met():
    """2 mm apart, and each where the other is: nothing without a fold can do it."""
    fixed = np.array([[12.0, 11.0, 12.0], [12.6, 11.0, 12.0]])
    still = torch.zeros(1, 3, *SHAPE)
    found = fit(fixed, fixed[::-1].copy(), start=(still, still))
    assert found.after_mm.max() > 1.0
    assert fold_share(found.moving_to_fixed) == 0


def test_what_is_met_already_stays_as_it_is():
    fixed = np.array([[12.0, 12.0, 12.0]])
    still = torch.zeros(1, 3, *SHAPE)
    found = fit(fixed, fixed.copy(), start=(still, still))
    assert torch.equal(found.moving_to_fixed, still)
    assert found.after_mm.tolist() == pytest.approx([0.0])
