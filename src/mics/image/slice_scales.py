"""Whether all slices of a scan have their values on one scale: neighbours show the same, in values of one spread and height.

Along the body alone: planes along it that enter the flat board of a table are alike and as far apart.
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
# By how much the next but one may be more alike than the one between, of good slices never; and the median factor over so many.
_ODD, _ALTERNATING_FACTOR, _FEWEST = 0.3, 1.4, 12
# A slice that varies less than this share of what most do shows nothing that could be compared: a few voxels decide. Beside it
# one may be filled in part, by resampling. The same holds of so few voxels a slice.
_MIN_SPREAD, _MIN_VOXELS = 0.05, 200
# Of all values: beyond lie metal and what else a single slice may show, which is to count no more than bone.
_USUAL = (0.02, 0.98)


@dataclass(frozen=True)
class _Neighbours:
    """Of each slice and the next: the difference of their means, the factor between their spreads (as a logarithm), and how well
    they correlate; how well each correlates with the next but one; whether both show anything and have neighbours that do; and
    whether a slice and the next but one do.
    """

    steps: NDArray[np.float64]
    factors: NDArray[np.float64]
    alike: NDArray[np.float64]
    alike_by_two: NDArray[np.float64]
    filled: NDArray[np.bool_]
    filled_by_two: NDArray[np.bool_]


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
    factors, alike = pairs.factors, pairs.alike
    odd = pairs.filled_by_two & (pairs.alike_by_two - np.maximum(alike[:-1], alike[1:]) > _ODD)
    if odd.any():
        return int(np.argmax(odd)) + 1
    filled = np.flatnonzero(pairs.filled)
    if len(filled) < _FEWEST:
        return None
    if np.median(factors[filled]) > np.log(_ALTERNATING_FACTOR):
        return int(filled[0]) + 1
    middle = np.arange(2, len(alike) - 2)
    beside = middle[:, None] + np.array([-2, -1, 1, 2])
    even = factors[beside] < np.log(_EVEN_FACTOR)
    alike_beside, factor, likeness = alike[beside], factors[middle], alike[middle]
    fairly = (even & (alike_beside > _FAIRLY_EVEN)).all(axis=1)
    scaled = (even & (alike_beside > _EVEN)).all(axis=1) & (likeness > _EVEN) & (factor > np.log(_MAX_FACTOR))
    unlike = (alike_beside > _FAIRLY_EVEN).all(axis=1) & (likeness < _WORST)
    wrapped = fairly & (likeness > _FAIRLY_EVEN) & (factor > np.log(_MAX_FACTOR_UNLIKE))
    found = np.flatnonzero((scaled | unlike | wrapped) & pairs.filled[middle])
    return int(middle[found[0]]) + 1 if len(found) else None


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
    by_two = shows[:-2] & shows[2:]
    return _Neighbours(np.diff(means), np.abs(np.diff(logarithms)), alike(1), alike(2), filled, by_two)


def _lattice(array: NDArray[np.float32], axis: int) -> tuple[slice, ...]:
    """Of each slice along ``axis`` some voxels from all over it."""
    steps = (1 if own == axis else max(1, length // _SAMPLES_ALONG_AXIS) for own, length in enumerate(array.shape))
    return tuple(slice(None, None, step) for step in steps)
