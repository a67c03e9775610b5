"""What can be wrong with a file that calls itself a volume, each told in one sentence."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.whole import reason

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_CHUNK = 1 << 22
# NIfTI's codes of floating-point voxels, and how a little-endian file begins (with its header's length; NIfTI-1 or 2).
_FLOATS = {16: "f4", 64: "f8"}
_LITTLE_ENDIAN = (struct.pack("<i", 348), struct.pack("<i", 540))


def known_suffix(path: Path) -> str:
    """The ending that says the format; raises InputError for one that carries no geometry or is unknown."""
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    raise InputError(
        f"{path} is not a kind of file that MICS reads or writes: give NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha), "
        "or for reading the folder of a DICOM series."
    )


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a file that ITK gives up on."""
    return InputError(f"{path} cannot be read as an image, it is damaged or of another kind: {reason(error)}.")


def not_finite(path: Path | str, count: int) -> InputError:
    """The error for values that are no number."""
    return InputError(
        f"{path} holds {count} NaN or infinite voxels: replace them, by -1000 HU where a scan has no data."
    )


def refuse_damaged_nifti(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise InputError for a NIfTI file that is cut short or damaged, or holds values that are not finite.

    ITK would say nothing: it makes up what is missing at the end, and puts 0 in place of NaN and infinity.
    """
    start = int(float(reader.GetMetaData("vox_offset")))
    expected = (
        start + math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * int(reader.GetMetaData("bitpix")) // 8
    )
    code = int(reader.GetMetaData("datatype"))
    length, bad = 0, 0
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            header = file.read(start)
            length = len(header)
            order = "<" if header[:4] in _LITTLE_ENDIAN else ">"
            kind = np.dtype(order + _FLOATS[code]) if code in _FLOATS else None
            while chunk := file.read(_CHUNK):
                if kind is not None:
                    voxels = chunk[: max(expected - length, 0)]
                    values = np.frombuffer(voxels, kind, len(voxels) // kind.itemsize)
                    bad += values.size - int(np.count_nonzero(np.isfinite(values)))
                length += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged or was cut short (its gzip data break off): copy it again.") from error
    if length < expected:
        raise InputError(f"{path} was cut short (it has {length} of {expected} bytes): copy it again.")
    if bad:
        raise not_finite(path, bad)


def refuse_other_shapes(path: Path, reader: sitk.ImageFileReader, components: int) -> None:
    """Raise InputError for what is not a 3D volume with so many components a voxel."""
    size, found = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) > 3:
        raise InputError(f"{path} is {len(size)}D (size {size}): give one 3D volume of it.")
    if len(size) < 3 or min(size) < 2:
        raise InputError(f"{path} is 2D (size {size}): give a 3D volume.")
    if found != components:
        kind = "scan or label map" if components == 1 else "displacement field"
        raise InputError(f"{path} is not a {kind}: it has {found} values per voxel instead of {components}.")


def refuse_missing_orientation(path: Path, reader: sitk.ImageFileReader, suffix: str) -> None:
    """Raise InputError where the header does not say how the volume lies; ITK would assume something."""
    suffix = suffix.lower()
    if suffix.startswith(".nii"):
        missing = reader.GetMetaData("qform_code") == "0" and reader.GetMetaData("sform_code") == "0"
    elif suffix in (".nrrd", ".nhdr"):
        missing = not reader.HasMetaDataKey("NRRD_space")
    else:
        with path.open("rb") as file:
            header = file.read(1 << 14)
        missing = not any(key in header for key in (b"TransformMatrix", b"Rotation", b"Orientation ="))
    if missing:
        raise InputError(
            f"{path} has no orientation in its header, so left and right cannot be told apart: "
            "convert it from DICOM again, or write the direction into the header if you know it."
        )


def read_skewed_nifti(path: Path) -> sitk.Image:
    """A NIfTI volume whose axes ITK finds not orthonormal, with the nearest orthonormal axes.

    Rounding in other tools' headers is mended so; where a voxel would move by more than half the smallest spacing, the
    volume is really sheared (a tilted gantry) and InputError is raised.
    """
    file = nibabel.nifti1.Nifti1Image.from_filename(path)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(file.affine, dtype=np.float64)
    shape = file.shape[:3] if file.shape[3:] == (1,) else file.shape
    if len(shape) != 3:
        raise InputError(f"{path} is {len(shape)}D (size {shape}): give one 3D volume.")
    size = np.array(shape)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix[:3, :3]) < 3:
        raise InputError(f"{path} has a degenerate direction in its header: convert it from DICOM again.")
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    axes = left @ right
    middle = (size - 1) / 2
    origin = matrix[:3, :3] @ middle + matrix[:3, 3] - (axes * spacing) @ middle
    grid = Grid((*size.tolist(),), (*spacing.tolist(),), (*origin.tolist(),), tuple(axes.ravel().tolist()))
    error = matrix.copy()
    error[:3] -= grid.matrix[:3]
    corners = grid.world_to_voxel(grid.corners())
    shift = np.linalg.norm(corners @ error[:3, :3].T + error[:3, 3], axis=1).max()
    if shift > spacing.min() / 2:
        raise InputError(
            f"{path} is sheared (its axes are not at right angles, by up to {shift:.1f} mm, as after a tilted gantry): "
            "resample it to a straight grid first."
        )
    try:
        array = np.asarray(file.dataobj).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as reading_error:
        raise unreadable(path, reading_error) from reading_error
    itk = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    itk.SetSpacing(grid.spacing)
    itk.SetOrigin(grid.origin)
    itk.SetDirection(grid.direction)
    return itk
