import itertools

import numpy as np

from mics import Grid
from mics.atlas.group import GroupMean, pairwise_dice
from mics.evaluation.metrics import dice

GRID = Grid((6, 5, 4), (2, 3, 4), (0, 0, 0))


def test_mean_and_spread_over_what_each_sees():
    rng = np.random.default_rng(0)
    scans, views = rng.normal(40, 30, (3, *GRID.size)), rng.random((3, *GRID.size)) < 0.7
    group = GroupMean(GRID)
    for scan, view in zip(scans, views, strict=True):
        group.add(scan, view)
    enough = views.sum(axis=0) >= 2
    hidden = np.ma.masked_array(scans, ~views)
    np.testing.assert_allclose(group.image().array[enough], hidden.mean(axis=0)[enough], rtol=1e-5)
    assert (group.image().array[~enough] == -1000).all()
    np.testing.assert_allclose(group.spread(), np.sqrt((hidden.std(axis=0)[enough] ** 2).mean()), rtol=1e-6)


def test_the_sharpness_of_a_ramp_is_its_slope():
    group = GroupMean(GRID)
    x, _, z = np.moveaxis(GRID.points(), -1, 0)
    group.add(3 * x + 4 * z, np.ones(GRID.size, bool))
    np.testing.assert_allclose(group.sharpness(), 5, rtol=1e-5)


def test_overlap_is_the_mean_over_pairs_of_the_evaluations():
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 4, (9, 8, 7)) * (np.arange(9) > n)[:, None, None] for n in range(4)]
    maps[2][maps[2] == 3] = 0
    scores = [
        np.mean(list(dice(a, b, set(np.unique(a)) & set(np.unique(b)) - {0}).values()))
        for a, b in itertools.combinations(maps, 2)
    ]
    np.testing.assert_allclose(pairwise_dice(maps), np.mean(scores), rtol=1e-6)
    assert pairwise_dice([np.ones((2, 2, 2), int), np.zeros((2, 2, 2), int)]) is None
