"""What can be wrong with a file that calls itself a volume, each told in one sentence."""

import math
import os
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.whole import reason

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_CHUNK = 1 << 18
_LONGEST_HEADER = 1 << 20
# Fields that move the beginning of the voxels.
_SKIPS = {"line skip", "lineskip", "byte skip", "byteskip", "headersize"}
# No byte of deflated data stands for more.
MOST_INFLATION = 1032
# Axes whose unit vectors span less than this volume lie in a plane.
_FLATTEST = 1e-3
# More different values than that are a scan's.
_MOST_LABELS = 256

Array = NDArray[np.float64]


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


def refuse_values_of_scans(labels: NDArray[np.integer], name: str) -> None:
    """Raise InputError for a label map, called ``name``, whose integers look like a scan's."""
    if labels.min() < 0:
        raise InputError(f"{name} is not a label map: it holds negative values, down to {labels.min()}.")
    if labels.max() < _MOST_LABELS:
        return
    found: set[int] = set()
    for plane in labels:
        found.update(np.unique(plane).tolist())
        if len(found) > _MOST_LABELS:
            raise InputError(f"{name} is not a label map: it holds more than {_MOST_LABELS} different values.")


def refuse_other_shapes(path: Path, size: tuple[int, ...], found: int, components: int) -> None:
    """Raise InputError for what is not a 3D volume with ``components`` values a voxel; it has ``found``."""
    if len(size) > 3:
        raise InputError(f"{path} is {len(size)}D (size {size}): give one 3D volume of it.")
    if len(size) < 3 or min(size) < 2:
        raise InputError(f"{path} is 2D (size {size}): give a 3D volume.")
    if found != components:
        kind = "scan or label map" if components == 1 else "displacement field"
        raise InputError(f"{path} is not a {kind}: it has {found} values per voxel instead of {components}.")


def refuse_missing_orientation(path: Path, reader: sitk.ImageFileReader, suffix: str) -> None:
    """Raise InputError where an NRRD or MetaImage header does not say how the volume lies; ITK would assume something."""
    if suffix.lower() in (".nrrd", ".nhdr"):
        missing = not reader.HasMetaDataKey("NRRD_space")
    else:
        with path.open("rb") as file:
            header = file.read(1 << 14)
        missing = not any(key in header for key in (b"TransformMatrix", b"Rotation", b"Orientation ="))
    if missing:
        raise no_orientation(path)


def refuse_damaged_data(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise InputError for an NRRD or MetaImage file with too few voxels for its header, or damaged compressed ones.

    ITK would take memory for any size, and make a scan of what was there where the compressed data do not fit. Files
    whose voxels are not compressed by zlib or lie in several others are left to ITK.
    """
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    expected = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * (int(bits[1]) // 8 if bits else 1)
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    end = re.search(rb"\r?\n\r?\n" if head.startswith(b"NRRD") else rb"ElementDataFile *= *[^\n]*\n?", head)
    fields = _fields(head[: end.end()] if end else head)
    encoding = fields.get("encoding", "gzip" if fields.get("compresseddata", "").lower() == "true" else "raw")
    other = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile", "LOCAL")
    data, start = (path, end.end() if end else 0) if other.upper() == "LOCAL" else (path.parent / other, 0)
    if encoding not in ("raw", "gzip", "gz") or not data.is_file() or fields.keys() & _SKIPS:
        return
    packed = encoding != "raw"
    most = (data.stat().st_size - start) * (MOST_INFLATION if packed else 1)
    if expected > most:
        raise InputError(f"{path} was cut short: its header promises {expected} bytes of voxels. Copy it again.")
    if packed:
        try:
            with data.open("rb") as file:
                file.seek(start)
                found = _inflated_length(file, expected)
        except (EOFError, zlib.error) as error:
            raise InputError(
                f"{path} is damaged or was cut short (its compressed data break off): copy it again."
            ) from error
        if found != expected:
            raise InputError(
                f"{path} is damaged: its compressed data do not hold the {expected} bytes that it promises."
            )


def _fields(header: bytes) -> dict[str, str]:
    """The lines "name: value" (NRRD) or "name = value" (MetaImage), names in small letters."""
    lines = header.decode("latin-1").splitlines()
    pairs = (re.split(r"\s*:\s+|\s*=\s*", line.strip(), maxsplit=1) for line in lines if not line.startswith("#"))
    return {pair[0].lower(): pair[1] for pair in pairs if len(pair) == 2}


def _inflated_length(file: BinaryIO, most: int) -> int:
    """How many bytes come out of zlib or gzip data, their check sum verified; no more than just over ``most`` is unpacked."""
    member, length = zlib.decompressobj(47), 0
    while chunk := file.read(_CHUNK):
        while chunk and not member.eof:
            length += len(member.decompress(chunk, _CHUNK))
            chunk = member.unconsumed_tail
        if member.eof or length > most:
            return length
    raise EOFError("compressed data break off")


def no_orientation(path: Path) -> InputError:
    """The error for a header that does not say how the volume lies."""
    return InputError(
        f"{path} has no orientation in its header, so left and right cannot be told apart: "
        "convert it from DICOM again, or write the direction into the header if you know it."
    )


def degenerate(path: Path) -> InputError:
    """The error for a header whose axes do not span the space."""
    return InputError(f"{path} has a degenerate direction in its header: convert it from DICOM again.")


def is_place(matrix: Array) -> bool:
    """Whether a map (4, 4) from voxel to world is finite and its axes span the space."""
    if not np.isfinite(matrix).all():
        return False
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(matrix[:3, :3] / lengths)) > _FLATTEST)


def straightened(path: Path, matrix: Array, size: tuple[int, ...]) -> Grid:
    """The grid of a header's map (4, 4) from voxel to LPS mm, its axes replaced by the nearest orthonormal ones.

    Rounding in other tools' headers is mended so. Raises InputError where a voxel would move by more than half the
    smallest spacing, as the volume is then really sheared (a tilted gantry), and where the axes do not span the space.
    """
    if not is_place(matrix):
        raise degenerate(path)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    axes = left @ right
    middle = (np.array(size) - 1) / 2
    origin = matrix[:3, :3] @ middle + matrix[:3, 3] - (axes * spacing) @ middle
    grid = Grid((size[0], size[1], size[2]), (*spacing.tolist(),), (*origin.tolist(),), tuple(axes.ravel().tolist()))
    error = matrix - grid.matrix
    corners = grid.world_to_voxel(grid.corners())
    shift = np.linalg.norm(corners @ error[:3, :3].T + error[:3, 3], axis=1).max()
    if shift > spacing.min() / 2:
        raise InputError(
            f"{path} is sheared (its axes are not at right angles, by up to {shift:.1f} mm, as after a tilted gantry): "
            "resample it to a straight grid first."
        )
    return grid


def refuse_unreadable_name(path: Path) -> None:
    """Raise InputError for a name that is not UTF-8 (ITK would end the process), and for what is no file or folder."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(f"The name {shown} is not UTF-8: rename it (older zip programs write such names).") from None
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device: write what it gives into a file and give that.")
