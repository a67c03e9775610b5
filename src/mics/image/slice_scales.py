"""Whether all slices of a scan have their values on one scale: no neighbours alike are hundreds of HU apart.

Along the body alone: planes along it that enter the flat board of a table are alike and as far apart.
"""

import numpy as np
from numpy.typing import NDArray

# Of each slice so many voxels along both its axes are looked at.
_LOOKED_AT = 48
# Neighbours that correlate so well show the same anatomy. In 18 good scans, whole, halved and in boxes of 64 mm, the means of
# such are at most 300 HU apart.
_MIN_CORRELATION, _FARTHEST_HU = 0.65, 500.0


def step_between_slices(array: NDArray[np.float32], axis: int) -> tuple[int, float] | None:
    """Where two neighbouring slices show the same and are far apart in value.

    Args:
        array: A volume, (X, Y, Z).
        axis: Of the array, along which the slices follow each other.

    Returns:
        The number of the second one, from 0, and by how much its values are higher; None where there are no such slices.
    """
    slices = np.moveaxis(array, axis, 0)
    lattice = (slice(None), *(slice(None, None, max(1, length // _LOOKED_AT)) for length in slices.shape[1:]))
    values = slices[lattice].reshape(len(slices), -1).astype(np.float64)
    means = values.mean(axis=1)
    centred = values - means[:, None]
    spread = np.sqrt((centred**2).mean(axis=1))
    alike = (centred[1:] * centred[:-1]).mean(axis=1) > _MIN_CORRELATION * spread[1:] * spread[:-1]
    steps = np.where(alike, np.diff(means), 0.0)
    far = np.flatnonzero(np.abs(steps) > _FARTHEST_HU)
    return (int(far[0]) + 1, float(steps[far[0]])) if len(far) else None
