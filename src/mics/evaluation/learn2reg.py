"""The Learn2Reg challenge's displacement files.

A file holds ``(X, Y, Z, 3)`` in voxels, array order: voxel ``x`` of the fixed volume is filled from ``x + d(x)`` of the
moving one. Its header carries no geometry. Here such a displacement is ``(3, X, Y, Z)``, channels first as everywhere.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from scipy import ndimage

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.metrics import Labels
from mics.files.whole import write_whole
from mics.image.checks import refuse_larger_than_memory
from mics.image.grid import Grid


def displacement_name(fixed: str, moving: str, *, script: Literal["current", "2020"] = "current") -> str:
    """File name of the pair of case numbers ("0027", "0033") that today's or the 2020 evaluation script looks for."""
    modality = "_0000" if script == "current" else ""
    return f"disp_{fixed}{modality}_{moving}{modality}.nii.gz"


def write_displacement(displacement_voxels: NDArray[np.floating], path: str | Path) -> None:
    """Write ``(3, X, Y, Z)`` as the challenge wants it: ``(X, Y, Z, 3)`` float32 NIfTI with an identity header."""
    image = nibabel.nifti1.Nifti1Image(np.moveaxis(displacement_voxels, 0, -1).astype(np.float32), np.eye(4))
    write_whole(path, lambda temporary: nibabel.loadsave.save(image, temporary), suffix=".nii.gz")


def read_displacement(
    path: str | Path, size: tuple[int, ...] | None = None, *, or_size: tuple[int, ...] | None = None
) -> NDArray[np.float32]:
    """Read a challenge file, NIfTI or ``.npz``, into ``(3, X, Y, Z)`` float32, voxels.

    Raises :class:`InputError` for anything else and, given the ``size`` (X, Y, Z) of the fixed volume, for another one
    (``or_size`` is taken too).
    """
    npz = Path(path).suffix == ".npz"
    try:
        if npz:
            require_npz_of(path, size, str(path), or_size=or_size)
            refuse_larger_than_memory(Path(path), 8 * math.prod(npz_shape(path)))
            with np.load(path, allow_pickle=False) as stored_arrays:
                values = np.asarray(stored_arrays[stored_arrays.files[0]], dtype=np.float32)
        else:
            stored = nibabel.loadsave.load(path).dataobj  # type: ignore[attr-defined]
            # Before anything of them is unpacked: a small file can hold more than fits into memory.
            _require_shape(stored.shape, size, str(path), or_size)
            refuse_larger_than_memory(Path(path), 8 * math.prod(stored.shape))
            values = np.asarray(stored, dtype=np.float32)
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, TypeError, ImageFileError) as error:
        kind = "an .npz file" if npz else "a NIfTI file"
        raise InputError(f"{path} cannot be read as {kind} ({error}); give a Learn2Reg displacement.") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds displacements that are not finite; write it again.")
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def npz_shape(path: str | Path) -> tuple[int, ...]:
    """Shape of the only array of an ``.npz`` file, from its header alone; InputError where it has several, or none."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise InputError(f"{path} holds {len(names)} arrays; a Learn2Reg displacement is one, X×Y×Z×3.")
        with archive.open(names[0]) as stored:
            version = np.lib.format.read_magic(stored)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return tuple(int(length) for length in read(stored)[0])  # type: ignore[no-untyped-call]


def require_npz_of(
    path: str | Path, size: tuple[int, ...] | None, where: str, *, or_size: tuple[int, ...] | None = None
) -> None:
    """Raise :class:`InputError` unless an ``.npz`` file is a displacement over ``size`` (or ``or_size``) voxels."""
    try:
        _require_shape(npz_shape(path), size, where, or_size)
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise InputError(f"{where} cannot be read as an .npz file ({error}); write it again.") from error


def require_displacement_of(
    header: bytes, size: tuple[int, ...], where: str, *, or_size: tuple[int, ...] | None = None
) -> None:
    """Raise :class:`InputError` unless a NIfTI ``header`` (348 bytes) is that of a displacement over ``size`` voxels.

    ``or_size`` is taken too. ``where`` names the file in the sentence.
    """
    try:
        shape = nibabel.nifti1.Nifti1Header(header, check=False).get_data_shape()
    except (ImageFileError, HeaderDataError, WrapStructError) as error:
        raise InputError(f"{where} cannot be read as a NIfTI file ({error}); give a Learn2Reg displacement.") from error
    _require_shape(shape, size, where, or_size)


def _require_shape(
    shape: tuple[int, ...], size: tuple[int, ...] | None, where: str, or_size: tuple[int, ...] | None = None
) -> None:
    if len(shape) != 4 or shape[3] != 3:
        message = f"{where} has shape {text(shape)}; a Learn2Reg displacement has XxYxZx3"
        if len(shape) == 5:
            message += ", in voxels. This looks like ITK's kind of field, in mm: convert it"
        elif len(shape) == 4 and shape[0] == 3:
            message += ": move the first axis to the end"
            if size is not None and _halves(shape[1:], size):
                message += ", resample it to the full resolution and double its values (this is the format of 2020)"
        raise InputError(message + ".")
    found = shape[:3]
    if size is None or found in (tuple(size), or_size):
        return
    message = f"{where} covers {text(found)} voxels, the fixed labels {text(size)}: "
    if found == tuple(size)[::-1]:
        message += "its axes are in the reverse order; write them as the NIfTI array has them (i, j, k)."
    elif _halves(found, size):
        message += "it is at half the resolution; resample it and double its values."
    else:
        message += "give the displacement of every voxel of the fixed volume."
    raise InputError(message)


def _halves(found: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return all(abs(2 * n - m) <= 1 for n, m in zip(found, size, strict=True))


def from_transform(transform: Transform, moving_grid: Grid) -> NDArray[np.float32]:
    """Displacement ``(3, X, Y, Z)`` in voxels of a transform that fills its grid from the volume on ``moving_grid``."""
    fixed_voxels = np.moveaxis(np.indices(transform.grid.size, dtype=np.float32), 0, -1)
    sources = transform.grid.points() + transform.displacement_mm
    return np.moveaxis(moving_grid.world_to_voxel(sources) - fixed_voxels, -1, 0).astype(np.float32)


def to_transform(displacement_voxels: NDArray[np.floating], *, target: Grid, source: Grid) -> Transform:
    """The same displacement in mm, on ``target``, the grid that it fills from ``source``: inverse of :func:`from_transform`."""
    voxels = np.indices(target.size, dtype=np.float32)
    sources = source.voxel_to_world(np.moveaxis(voxels + displacement_voxels, 0, -1))
    return Transform((sources - target.points()).astype(np.float32), target)


def halved_grid(grid: Grid) -> Grid:
    """Every other voxel of a grid, from the first on."""
    x, y, z = ((n + 1) // 2 for n in grid.size)
    dx, dy, dz = (2 * edge for edge in grid.spacing)
    return Grid((x, y, z), (dx, dy, dz), grid.origin, grid.direction)


def warp_labels(labels: Labels, displacement_voxels: NDArray[np.floating]) -> Labels:
    """Labels filled from ``x + d(x)`` by nearest neighbour; background beyond the volume."""
    # In double, as the challenge's script: in single, one place in a million lies nearer to another voxel.
    places = displacement_voxels + np.indices(displacement_voxels.shape[1:], dtype=np.float64)
    warped: Labels = ndimage.map_coordinates(labels, places, order=0, mode="constant", cval=0)
    return warped


def text(size: tuple[int, ...]) -> str:
    """A size as it is written: 192x160x256."""
    return "x".join(map(str, size))
