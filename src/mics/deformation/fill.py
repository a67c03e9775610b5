"""Volumes warped onto a grid slab by slab, so that ITK has no more of the displacement than one slab at a time."""

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.deformation.libraries import to_itk as field_to_itk
from mics.deformation.slabs import Box, each_slab
from mics.image.grid import Grid
from mics.image.io import Image, from_itk, to_itk


def fill(
    grid: Grid, displacement: Callable[[Box], NDArray[np.float32]], image: Image, interpolator: int, outside: float
) -> Image:
    """An image, brought onto a grid by one interpolation of ITK's.

    Args:
        grid: What is filled.
        displacement: Of the voxels of ``grid`` in a box, (x, y, z, 3), LPS mm.
        image: The volume to sample, on any grid.
        interpolator: One of SimpleITK's.
        outside: Value of voxels filled from beyond the volume.

    Returns:
        The volume on ``grid``, in its own type of number.
    """
    source = to_itk(image)
    filled = np.empty(grid.size, dtype=image.array.dtype)

    def work(part: slice, slab: Grid) -> None:
        field = field_to_itk(displacement((part, slice(None), slice(None))), slab)
        warped = sitk.Warp(source, field, interpolator, slab.size, slab.origin, slab.spacing, slab.direction, outside)
        filled[part] = from_itk(warped).array

    each_slab(grid, work)
    return Image(filled, grid)
