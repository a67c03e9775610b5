"""A displacement in its file: in which numbers, and written by slabs, as the whole takes gigabytes on a scan's own grid."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.deformation.foreign import refuse_foreign_field
from mics.deformation.libraries import to_itk
from mics.deformation.slabs import Box
from mics.errors import InputError, SettingError
from mics.image.grid import Grid
from mics.image.io import grid_of, read_itk, write_itk, written_suffix
from mics.image.slabwise import MAX_EXTENT, SUFFIXES, write_by_slabs

# Files hold multiples of 1/256 mm: half as large, written in 60 % of the time, and at most 0.002 mm away.
_STEPS_PER_MM = 256
_SLAB_VOXELS = 500_000
_OTHER_FORMATS = (".h5", ".tfm", ".mat", ".txt", ".x5")


def as_stored(displacement_mm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Displacements in mm, of any shape, as files hold them: multiples of 1/256 mm, a new array."""
    stored = np.array(displacement_mm, dtype=np.float32, order="C")
    stored *= _STEPS_PER_MM
    np.rint(stored, out=stored)
    stored /= _STEPS_PER_MM
    return stored


def refuse_other_formats(path: Path) -> None:
    """Raise SettingError for the name of a transform that is none of a volume, with what reads it."""
    if path.suffix.lower() in _OTHER_FORMATS:
        raise SettingError(
            f"{path} is not a volume of displacements: make one of it by `mics convert {path} -o FIELD.nii.gz`, or read it by "
            "`mics.deformation.read_formats.read_transform`."
        )


def read_displacement(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """The displacement (X, Y, Z, 3), LPS mm, of an ITK displacement field, and its grid.

    Raises InputError for a file that cannot be read, is no 3D field of three values, holds NaN or infinities, or says that it is
    another program's.
    """
    refuse_foreign_field(path)
    field = read_itk(path, pixel=sitk.sitkVectorFloat32, components=3)
    displacement = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3)
    if not np.isfinite(displacement).all():
        raise InputError(f"{path} is not a usable displacement field: it holds NaN or infinite values.")
    return displacement, grid_of(field)


def write_displacement(
    values: Callable[[Box, slice], NDArray[np.float32]], grid: Grid, path: Path, *, closely: bool = False
) -> None:
    """Write an ITK displacement field; the file appears complete or not at all.

    Args:
        values: The displacement in mm (x, y, z, C) in a box of voxels of ``grid``, along world axes.
        grid: Its grid.
        path: The file; its ending chooses the format. NIfTI is written by slabs.
        closely: Pack a .nii.gz closer, which takes more time.

    Raises:
        InputError: If it cannot be written, or its ending is that of no format.
    """
    suffix = written_suffix(path)
    if suffix not in SUFFIXES or max(grid.size) > MAX_EXTENT:
        write_itk(to_itk(as_stored(values((slice(None),) * 3, slice(None))), grid), path)
        return
    x, y, z = grid.size
    depth = max(1, _SLAB_VOXELS // (x * y))

    def slab(axis: int, first: int) -> NDArray[np.float32]:
        box = (slice(None), slice(None), slice(first, first + depth))
        return as_stored(values(box, slice(axis, axis + 1))[..., 0].T)

    like = to_itk(np.zeros((2, 2, 2, 3), np.float32), grid)
    slabs = (partial(slab, axis, first) for axis in range(3) for first in range(0, z, depth))
    write_by_slabs(path, suffix, like, grid.size, slabs, closely=closely)
