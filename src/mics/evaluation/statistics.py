"""How sure a mean over pairs is, and whether two methods differ on the same pairs."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

RESAMPLES = 10_000
_SEED = 0


def mean(values: Values) -> Values:
    """Mean along the last axis."""
    return np.asarray(values.mean(axis=-1))


def quantile30(values: Values) -> Values:
    """0.3 quantile (linear) along the last axis: Learn2Reg's robustness."""
    return np.asarray(np.quantile(values, 0.3, axis=-1))


@dataclass(frozen=True)
class Estimate:
    """A statistic over pairs, and the limits of its 95 % bootstrap interval (None below two pairs)."""

    value: float
    low: float | None
    high: float | None


def bootstrap(values: Sequence[float], statistic: Callable[[Values], Values] = mean) -> Estimate:
    """A statistic of the pairs' values with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The pairs are drawn anew with replacement, 10,000 times, always by the same random numbers. Pairs that share subjects are
    not independent of each other: the interval speaks for other pairs of these subjects.
    """
    given = np.asarray(values, dtype=np.float64)
    value = float(statistic(given))
    if len(given) < 2:
        return Estimate(value, None, None)
    chosen = np.random.default_rng(_SEED).integers(len(given), size=(RESAMPLES, len(given)))
    # An organ that was lost is infinitely far: then the upper limit is infinite, and the quantiles must not interpolate.
    low, high = np.quantile(statistic(given[chosen]), (0.025, 0.975), method="closest_observation")
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True)
class Difference:
    """Two methods on the same pairs: the mean of first minus second with its interval, and the p-value of the test."""

    estimate: Estimate
    p: float
    pairs: int


def paired_test(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Wilcoxon's signed-rank test, two-sided, of two methods' values on the same pairs (Wilcoxon 1945).

    Exact where the number of pairs and the ties allow it. With five pairs or fewer p cannot fall below .05. Without any
    difference p is 1.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    # Two infinite distances are equally bad.
    differences = np.subtract(a, b, out=np.zeros_like(a), where=a != b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few pairs: said above
        p = float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0
    return Difference(bootstrap(differences.tolist()), p, len(a))
