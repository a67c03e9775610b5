"""Whether a file that was just written holds all of its volume."""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

_HEADER = 1 << 12  # bytes that surely hold what is looked for in a header


def bytes_of(itk: sitk.Image, size: Sequence[int] | None = None) -> int:
    """Bytes of the voxels of ``itk``, or of so many."""
    voxels: int = math.prod(size or itk.GetSize()) * itk.GetNumberOfComponentsPerPixel() * itk.GetSizeOfPixelComponent()
    return voxels


def is_whole(path: Path, suffix: str, voxels: int) -> bool:
    """Whether ``path``, of the format ``suffix``, is as long as so many bytes of ``voxels`` make it; only its ends are read.

    A gzip stream closes with the number of bytes that it unpacks to (RFC 1952), and MetaImage's header gives the number of
    packed bytes, so that what breaks off shows without unpacking it all.
    """
    length = path.stat().st_size
    if suffix == ".nii":
        with path.open("rb") as file:
            return length == _nifti_start(file.read(_HEADER)) + voxels
    if suffix == ".mha":
        with path.open("rb") as file:
            header = file.read(_HEADER)
        packed = re.search(rb"CompressedDataSize = (\d+)\n", header)
        data = re.search(rb"ElementDataFile = LOCAL\n", header)
        return data is not None and length == data.end() + (voxels if packed is None else int(packed[1]))
    start = 0
    if suffix == ".nii.gz":
        try:
            with gzip.open(path) as unpacked:
                start = _nifti_start(unpacked.read(_HEADER))
        except (OSError, EOFError, zlib.error):
            return False
    with path.open("rb") as file:
        file.seek(max(length - 4, 0))
        end = file.read()
    return len(end) == 4 and struct.unpack("<I", end)[0] == (start + voxels) % (1 << 32)


def _nifti_start(header: bytes) -> int:
    """Bytes before the voxels, from the header that ITK writes (NIfTI-1, this machine's byte order); 0 if it is cut short."""
    return int(struct.unpack_from("=f", header, 108)[0]) if len(header) >= 112 else 0
