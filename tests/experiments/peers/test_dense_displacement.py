"""The search of probabilistic dense displacements, against shifts that are known and scipy's filters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, minimum_filter, uniform_filter
from scipy.special import softmax

from mics.experiments.peers.dense_displacement import SHARPNESS, expected_displacement, marginal_probabilities


def features(shift):
    """Random blobs in three channels on a grid of 40 voxels, cut out of a larger one at some place."""
    rng = np.random.default_rng(0)
    channels = np.stack([gaussian_filter(rng.normal(size=(72, 72, 72)), 2) for _ in range(3)])
    x, y, z = (slice(16 - step, 56 - step) for step in shift)
    return torch.from_numpy(channels[:, x, y, z] / channels.std()).float()[None]


@pytest.mark.parametrize("shift", [(0, 0, 0), (4, -2, 6)])
def test_a_shift_is_found(shift):
    found = expected_displacement(features((0, 0, 0)), features(shift), control=(14, 14, 14))[0].numpy()
    inner = found[:, 5:-5, 5:-5, 5:-5] * 39 / 13  # in voxels of the features, three of which lie between control points
    np.testing.assert_allclose(inner.mean(axis=(1, 2, 3)), shift, atol=0.3)
    assert np.abs(inner - np.reshape(shift, (3, 1, 1, 1))).max() < 1.5


def by_scipy(costs):
    """Least of 3 x 3 displacements, their mean, and the mean over 3³ control points twice; beyond the borders as at them."""
    wide = np.pad(costs, [(2, 2), (2, 2), (0, 0), (0, 0), (0, 0)], mode="edge")
    least = minimum_filter(wide, size=(3, 3, 1, 1, 1))[1:-1, 1:-1]
    mean = uniform_filter(least, size=(3, 3, 1, 1, 1))[1:-1, 1:-1]
    grid = np.pad(mean, [(0, 0), (0, 0), (2, 2), (2, 2), (2, 2)], mode="edge")
    for _ in range(2):
        grid = uniform_filter(grid, size=(1, 1, 3, 3, 3))[:, :, 1:-1, 1:-1, 1:-1]
    return grid


def test_probabilities_are_those_of_two_iterations_of_mean_field():
    costs = np.random.default_rng(0).random((7, 7, 4, 5, 3))
    expected = softmax(-SHARPNESS * by_scipy(costs + by_scipy(costs)), axis=(0, 1))
    found = marginal_probabilities(torch.from_numpy(costs).float()).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), more=st.floats(0, 5))
def test_they_sum_to_one_and_do_not_change_with_what_all_displacements_cost(seed, more):
    costs = torch.rand(5, 5, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    probabilities = marginal_probabilities(costs)
    torch.testing.assert_close(probabilities.sum((0, 1)), torch.ones(3, 3, 3))
    torch.testing.assert_close(marginal_probabilities(costs + more), probabilities, atol=1e-4, rtol=1e-3)


def test_where_nothing_can_be_told_nothing_moves():
    flat = torch.ones(1, 3, 20, 20, 20)
    assert expected_displacement(flat, flat, control=(7, 7, 7)).abs().max() < 1e-5
