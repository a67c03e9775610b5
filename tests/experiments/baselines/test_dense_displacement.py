"""The dense displacement search against costs counted one by one, and shifts that are known."""

import numpy as np
import pytest
import torch

from mics.experiments.baselines import dense_displacement
from mics.experiments.baselines.dense_displacement import agreed, dissimilarity, expected_displacement

REACH = 2


@pytest.fixture(autouse=True)
def _short_reach(monkeypatch):
    monkeypatch.setattr(dense_displacement, "_REACH", REACH)


def test_costs_are_mean_squared_differences_over_the_block_of_a_control_point():
    rng = np.random.default_rng(0)
    target, source = rng.normal(size=(2, 3, 4, 6, 4)).astype(np.float32)
    costs = dissimilarity(torch.from_numpy(target)[None], torch.from_numpy(source)[None])
    assert costs.shape == (5, 5, 5, 2, 3, 2)
    moved = (1, -2, 0)
    # The second control point along each axis has voxels 2 and 3; beyond the volume its last voxel goes on.
    voxels = [(x, y, z) for x in (2, 3) for y in (2, 3) for z in (2, 3)]
    squares = []
    for voxel in voxels:
        there = tuple(np.clip(np.add(voxel, moved), 0, np.array(target.shape[1:]) - 1))
        squares.append((target[(slice(None), *voxel)] - source[(slice(None), *there)]) ** 2)
    found = costs[(*np.add(moved, REACH), 1, 1, 1)]
    assert found.item() == pytest.approx(np.mean(squares), rel=1e-5)


def test_a_shift_of_the_features_is_found_to_a_hundredth_of_a_step():
    rng = np.random.default_rng(1)
    source = rng.uniform(size=(12, 20, 20, 20)).astype(np.float32)
    shift = (1, 0, -1)
    target = np.roll(source, [-n for n in shift], axis=(1, 2, 3))
    costs = dissimilarity(torch.from_numpy(target)[None], torch.from_numpy(source)[None])
    found = expected_displacement(costs)[0, :, 2:-2, 2:-2, 2:-2]
    assert np.abs(found.numpy() - np.reshape(shift, (3, 1, 1, 1))).max() < 0.01


def test_neighbours_decide_for_a_point_that_sees_nothing():
    costs = torch.ones(5, 5, 5, 5, 5, 5)
    costs[3, 2, 1] = 0  # everywhere a step along x and one back along z
    costs[..., 2, 2, 2] = 0.5  # but in the middle, where all is alike
    before, after = (expected_displacement(one)[0, :, 2, 2, 2].tolist() for one in (costs, agreed(costs)))
    assert before == pytest.approx([0, 0, 0], abs=1e-4)
    assert after == pytest.approx([1, 0, -1], abs=0.35)
