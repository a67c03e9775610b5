"""Intervals and tests against scipy, and on cases known by hand."""

import inspect

import numpy as np
import pytest
from scipy import stats

from mics.evaluation.statistics import bootstrap, mean, paired_test, quantile30

VALUES = np.random.default_rng(3).gamma(2, 1, 40)
RNG = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # as scipy before 1.15 has it


@pytest.mark.parametrize("statistic", [mean, quantile30])
def test_the_interval_is_scipys_percentile_bootstrap(statistic):
    found = bootstrap(VALUES.tolist(), statistic)
    settings = {"method": "percentile", "n_resamples": 10_000, RNG: np.random.default_rng(7), "vectorized": True}
    theirs = stats.bootstrap((VALUES,), lambda values, axis: statistic(values), **settings)
    assert found.value == pytest.approx(statistic(VALUES))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval, abs=0.04 * width)
    assert bootstrap(VALUES.tolist(), statistic) == found


def test_dice30_is_the_quantile_with_linear_interpolation():
    assert bootstrap([0.9, 0.1, 0.5, 0.3], quantile30).value == pytest.approx(0.28)


def test_one_pair_has_no_interval_and_equal_pairs_an_empty_one():
    assert vars(bootstrap([0.5])) == {"value": 0.5, "low": None, "high": None}
    assert vars(bootstrap([0.5] * 4)) == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_a_lost_organ_makes_the_mean_and_the_upper_limit_infinite():
    found = bootstrap([1.0, 2.0, float("inf"), 3.0])
    assert (found.value, found.high) == (float("inf"), float("inf"))
    assert 1 <= found.low < 3


def test_the_paired_test_of_six_pairs_better_every_time():
    # All six signs and ranks on one side: two of 2**6 arrangements.
    found = paired_test([0.5, 0.6, 0.7, 0.55, 0.65, 0.75], [0.4, 0.45, 0.5, 0.3, 0.35, 0.4])
    assert found.p == pytest.approx(2 / 64)
    assert found.pairs == 6
    assert found.estimate.value == pytest.approx(1.35 / 6)


def test_the_paired_test_is_scipys_on_many_pairs():
    other = VALUES + np.random.default_rng(4).normal(0.1, 0.5, 40)
    assert paired_test(VALUES.tolist(), other.tolist()).p == pytest.approx(stats.wilcoxon(VALUES, other).pvalue)


def test_no_difference_has_p_one_also_where_both_lost_an_organ():
    assert paired_test([1.0, 2.0, float("inf")], [1.0, 2.0, float("inf")]).p == 1
