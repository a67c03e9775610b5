"""Whether all slices of a scan have their values on one scale: neighbours show the same, in values of one spread and height.

Along the body, but for factors: planes along it that enter the flat board of a table are alike and as far apart in value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of each slice so many voxels along both its axes are looked at.
_SAMPLES_ALONG_AXIS = 48
# Neighbours that correlate so well show the same anatomy. In 18 good scans, whole, halved and in boxes of 64 mm, the means of
# such are at most 300 HU apart.
_MIN_CORRELATION, _FARTHEST_HU, _OF_RANGE = 0.65, 500.0, 0.2
# Where two pairs of neighbours on both sides go on as evenly: by what factor spreads differ at most (1.4 in 3000 whole scans and
# parts of 64 to 128 mm, with thick slices, noise and cut-off values), and how badly neighbours correlate (.33).
_EVEN, _FAIRLY_EVEN, _EVEN_FACTOR = 0.9, 0.5, 1.15
_MAX_FACTOR, _MAX_FACTOR_UNLIKE, _WORST = 1.5, 3.0, 0.0
# By how much slices so far apart may be more alike than those between are to them: by .1 in 600 good scans and parts. And the
# median factor over so many.
_APART = (2, 3, 4)
_ODD, _ALTERNATING_FACTOR, _FEWEST = 0.3, 1.4, 12
# Up to three slices times a factor, where four pairs of neighbours beside them are even: in 600 good scans and parts, with thick
# slices, noise and cut-off values, none has 1.15. At an end it may be smaller: what a resampling filled in part.
_FEW_FACTOR, _FEW, _BESIDE = 1.3, 3, 4
# Those at an end that are upside down correlate so badly with the next; of 2600 good ones none does with -.2.
_UPSIDE_DOWN = -0.5
# From a plane on, of any axis: 1.2 at most in 1000 good scans and parts.
_ACROSS_FACTOR = 1.5
# Wrapped to 8 bits: what lies beyond these, which share of a slice does, and the mean cosine of the turns between it and what is
# there a few slices on.
_BEYOND_8_BITS_HU, _MIN_BEYOND, _MIN_COSINE = 300.0, 0.1, 0.5
# A slice that varies less than this share of what most do shows nothing that could be compared: a few voxels decide. Beside it
# one may be filled in part, by resampling. The same holds of so few voxels a slice.
_MIN_SPREAD, _MIN_VOXELS = 0.05, 200
# Of all values: beyond lie metal and what else a single slice may show, which is to count no more than bone.
_USUAL = (0.02, 0.98)


@dataclass(frozen=True)
class _Neighbours:
    """Of each slice and the next: the difference of their means, the factor from the spread of one to the other's (as a
    logarithm), and how well they correlate; whether both show anything and have neighbours that do; and where slices first are
    alike across others that are not, the first of these, or None.
    """

    steps: NDArray[np.float64]
    factors: NDArray[np.float64]
    alike: NDArray[np.float64]
    filled: NDArray[np.bool_]
    odd: int | None

    def even(self) -> NDArray[np.bool_]:
        """Pairs that show the same, of one factor."""
        even: NDArray[np.bool_] = (np.abs(self.factors) < np.log(_EVEN_FACTOR)) & (self.alike > _EVEN)
        return even

    def jumps(self, factor: float) -> NDArray[np.bool_]:
        """Pairs that show the same, one of them times ``factor`` and more."""
        jumps: NDArray[np.bool_] = self.filled & (self.alike > _EVEN) & (np.abs(self.factors) > np.log(factor))
        return jumps


def step_between_slices(array: NDArray[np.float32], axis: int) -> tuple[int, float] | None:
    """Where two neighbouring slices show the same and are far apart in value.

    Args:
        array: A volume, (X, Y, Z).
        axis: Of the array, along which the slices follow each other.

    Returns:
        The number of the second one, from 0, and by how much its values are higher; None where there are no such slices.
    """
    pairs = _neighbours(array, axis)
    steps = np.where(pairs.filled & (pairs.alike > _MIN_CORRELATION), pairs.steps, 0.0)
    # Where all values are on a larger scale, so are their steps.
    least = max(_FARTHEST_HU, _OF_RANGE * float(np.ptp(np.quantile(array[::4, ::4, ::4], [0.01, 0.99]))))
    far = np.flatnonzero(np.abs(steps) > least)
    return (int(far[0]) + 1, float(steps[far[0]])) if len(far) else None


def other_scale(array: NDArray[np.float32], axis: int) -> int | None:
    """Where slices go over to values of another factor, upside down, or wrapped to fewer bits.

    Args:
        array: A volume, (X, Y, Z).
        axis: Of the array, along which the slices follow each other.

    Returns:
        The number of the first such slice, from 0; None where there is none.
    """
    if array.shape[axis] <= _FEWEST or array[_lattice(array, axis)].size < _MIN_VOXELS * array.shape[axis]:
        return None
    low, high = np.quantile(array[_lattice(array, axis)], _USUAL)
    pairs = _neighbours(array[_lattice(array, axis)].clip(low, high), axis)
    factors, alike = np.abs(pairs.factors), pairs.alike
    if pairs.odd is not None:
        return pairs.odd
    filled = np.flatnonzero(pairs.filled)
    if len(filled) < _FEWEST:
        return None
    if np.median(factors[filled]) > np.log(_ALTERNATING_FACTOR):
        return int(filled[0]) + 1
    middle, beside = _with_two_on_each_side(len(alike))
    even = factors[beside] < np.log(_EVEN_FACTOR)
    alike_beside, factor, likeness = alike[beside], factors[middle], alike[middle]
    fairly = (even & (alike_beside > _FAIRLY_EVEN)).all(axis=1)
    scaled = (even & (alike_beside > _EVEN)).all(axis=1) & (likeness > _EVEN) & (factor > np.log(_MAX_FACTOR))
    unlike = (alike_beside > _FAIRLY_EVEN).all(axis=1) & (likeness < _WORST)
    wrapped = fairly & (likeness > _FAIRLY_EVEN) & (factor > np.log(_MAX_FACTOR_UNLIKE))
    found = np.flatnonzero((scaled | unlike | wrapped) & pairs.filled[middle])
    return int(middle[found[0]]) + 1 if len(found) else None


def few_on_another_scale(array: NDArray[np.float32], axis: int) -> int | None:
    """Where up to three slices have values of another factor than all around, or are upside down, at an end as well.

    Args:
        array: A volume, (X, Y, Z), its padding left as it is: air times a factor may pass for padding.
        axis: Of the array, along which the slices follow each other.

    Returns:
        The number of the first such slice, from 0; None where there is none.
    """
    pairs = _neighbours_without_metal(array, axis)
    if pairs is None:
        return None
    alike, factors, count = pairs.alike, pairs.factors, len(pairs.alike)
    even, jumps = pairs.even(), pairs.jumps(_FEW_FACTOR)
    turns = pairs.filled & (alike < _UPSIDE_DOWN)
    for at in map(int, np.flatnonzero(jumps | turns)):
        for length in range(1, _FEW + 1):
            for first in (at + 1, at + 1 - length):
                before, after = first - 1, first + length - 1
                borders = [border for border in (before, after) if 0 <= border < count]
                by_distance = np.argsort(np.abs(np.arange(count) - (before + after) / 2), kind="stable")
                beside = [pair for pair in by_distance.tolist() if pair not in borders][:_BESIDE]
                if turns[borders].all() and (alike[beside] > _FAIRLY_EVEN).all():
                    return first
                larger = [factors[border] if border == before else -factors[border] for border in borders]
                one_way = min(larger) > 0 or (max(larger) < 0 and len(borders) == 2)
                if jumps[borders].all() and one_way and even[beside].all():
                    return first
    return None


def factor_across(array: NDArray[np.float32], axis: int) -> int | None:
    """Where values go over to those of another factor from a plane on, such as those of one half of each slice.

    Args:
        array: A volume, (X, Y, Z), its padding as for :func:`few_on_another_scale`.
        axis: Of the array, along which the planes follow each other; any.

    Returns:
        The number of the first such plane, from 0; None where there is none.
    """
    pairs = _neighbours_without_metal(array, axis)
    if pairs is None:
        return None
    middle, beside = _with_two_on_each_side(len(pairs.alike))
    found = middle[pairs.even()[beside].all(axis=1) & pairs.jumps(_ACROSS_FACTOR)[middle]]
    return int(found[0]) + 1 if len(found) else None


def wrapped_at_an_end(array: NDArray[np.float32], axis: int) -> int | None:
    """Where up to three slices at an end hold whole numbers of 8 bits, those of the next slice as numpy wraps them.

    Args:
        array: A volume, (X, Y, Z).
        axis: Of the array, along which the slices follow each other.

    Returns:
        The number of the first such slice, from 0; None where there is none.
    """
    slices = np.moveaxis(array[_lattice(array, axis)], axis, 0)
    count = len(slices)
    if count <= _FEWEST:
        return None
    at_start = [(end, _FEW) for end in range(_FEW)]
    at_end = [(end, count - _FEW - 1) for end in range(count - _FEW, count)]
    for end, inner in at_start + at_end:
        values, next_values = slices[end].astype(np.float64), slices[inner]
        beyond = np.abs(next_values) > _BEYOND_8_BITS_HU
        low = next((low for low in (-128, 0) if low <= values.min() and values.max() <= low + 255), None)
        whole = low is not None and np.ptp(values) > 0 and np.array_equal(values, np.rint(values))
        if not whole or beyond.mean() < _MIN_BEYOND:
            continue
        if np.cos(2 * np.pi * (values - next_values) / 256)[beyond].mean() > _MIN_COSINE:
            return end
    return None


def _with_two_on_each_side(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of those of ``count`` that have two neighbours on each side, (N,), and of these, (N, 4)."""
    middle = np.arange(2, count - 2)
    return middle, middle[:, None] + np.array([-2, -1, 1, 2])


def _neighbours_without_metal(array: NDArray[np.float32], axis: int) -> _Neighbours | None:
    """The lowest values left as they are: those of air tell most of a factor. None where there is too little to compare."""
    voxels = array[_lattice(array, axis)]
    if array.shape[axis] <= _FEWEST or voxels.size < _MIN_VOXELS * array.shape[axis]:
        return None
    return _neighbours(np.minimum(voxels, np.quantile(voxels, _USUAL[1])), axis)


def _neighbours(array: NDArray[np.float32], axis: int) -> _Neighbours:
    slices = np.moveaxis(array[_lattice(array, axis)], axis, 0)
    values = slices.reshape(len(slices), -1).astype(np.float64)
    means = values.mean(axis=1)
    centred = values - means[:, None]
    spread = np.sqrt((centred**2).mean(axis=1))

    def alike(apart: int) -> NDArray[np.float64]:
        products = (centred[apart:] * centred[:-apart]).mean(axis=1)
        found: NDArray[np.float64] = products / np.maximum(spread[apart:] * spread[:-apart], np.finfo(float).tiny)
        return found

    logarithms = np.log(np.maximum(spread, np.finfo(float).tiny))
    shows = spread > _MIN_SPREAD * np.quantile(spread, 0.75)
    around = np.pad(shows, 1, constant_values=True)
    filled = around[:-3] & around[1:-2] & around[2:-1] & around[3:]
    next_alike, odd = alike(1), []
    for apart in _APART:
        across = alike(apart)
        ends = np.maximum(next_alike[: len(across)], next_alike[apart - 1 :])
        found = np.flatnonzero(shows[:-apart] & shows[apart:] & (across - ends > _ODD))
        odd += (found[:1] + 1).tolist()
    return _Neighbours(np.diff(means), np.diff(logarithms), next_alike, filled, min(odd, default=None))


def _lattice(array: NDArray[np.float32], axis: int) -> tuple[slice, ...]:
    """Of each slice along ``axis`` some voxels from all over it."""
    steps = (1 if own == axis else max(1, length // _SAMPLES_ALONG_AXIS) for own, length in enumerate(array.shape))
    return tuple(slice(None, None, step) for step in steps)
