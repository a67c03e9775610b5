"""Whether all slices of a scan have their values on one scale: no neighbours alike are hundreds of HU apart."""

import numpy as np
from numpy.typing import NDArray

# Of each slice so many voxels along both its axes are looked at.
_LOOKED_AT = 48
# Neighbours that correlate so well show the same anatomy. In 18 good scans, whole, halved and in boxes of 64 mm, the means of
# such are at most 300 HU apart.
_LEAST_CORRELATION, _FARTHEST_HU = 0.65, 500.0


def step_between_slices(array: NDArray[np.float32]) -> tuple[int, int, float] | None:
    """Where two neighbouring slices of a volume (X, Y, Z) show the same and are far apart in value: the array axis, the number of
    the second one, and by how much its values are higher. None where there are no such.
    """
    for axis in range(3):
        slices = np.moveaxis(array, axis, 0)
        lattice = (slice(None), *(slice(None, None, max(1, length // _LOOKED_AT)) for length in slices.shape[1:]))
        values = slices[lattice].reshape(len(slices), -1).astype(np.float64)
        means = values.mean(axis=1)
        centred = values - means[:, None]
        spread = np.sqrt((centred**2).mean(axis=1))
        alike = (centred[1:] * centred[:-1]).mean(axis=1) > _LEAST_CORRELATION * spread[1:] * spread[:-1]
        steps = np.where(alike, np.diff(means), 0.0)
        if len(steps) and np.abs(steps).max() > _FARTHEST_HU:
            first = int(np.flatnonzero(np.abs(steps) > _FARTHEST_HU)[0])
            return axis, first + 1, float(steps[first])
    return None
