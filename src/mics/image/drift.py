"""Whether the values of a scan drift along an axis: those of air and tissues are the same in all its parts."""

import numpy as np
from numpy.typing import NDArray

from mics.image.ct_histogram import fit_as_it_is, fit_shifted, with_less_background

_PARTS, _MAX_SAMPLES = 3, 30_000
# Of good scans in which a tenth of the values are those of air, and their parts, thirds along all axes (4700) gain .15 or less by
# an offset of 30 HU and more, in mean log-likelihood.
_MIN_AIR, _AIR_BELOW_HU, _GAIN, _DRIFT_HU = 0.1, -700.0, 0.2, 80.0


def drift_along(array: NDArray[np.float32], axis: int) -> tuple[float, float] | None:
    """By which offsets the first and the last third of a scan that shows air are shifted, where these are far from each other.

    Args:
        array: A volume, (X, Y, Z).
        axis: Of the array.

    Returns:
        Both offsets in HU; None where the thirds may be as they are.
    """
    offsets, gains = [], []
    for part in np.array_split(array, _PARTS, axis):
        step = slice(None, None, max(1, round((part.size / _MAX_SAMPLES) ** (1 / 3))))
        values = with_less_background(part[step, step, step].ravel())
        if np.ptp(values) == 0:
            return None
        usual, shifted = fit_as_it_is(values), fit_shifted(values)
        if np.mean(values - shifted.offset < _AIR_BELOW_HU) < _MIN_AIR:
            return None
        offsets.append(shifted.offset)
        gains.append(shifted.log_likelihood - usual.log_likelihood)
    steps = np.diff(offsets)
    one_way = bool((steps > 0).all() or (steps < 0).all())
    farthest = int(np.argmax(np.abs(offsets)))
    if not one_way or abs(offsets[-1] - offsets[0]) < _DRIFT_HU or gains[farthest] < _GAIN:
        return None
    return offsets[0], offsets[-1]
