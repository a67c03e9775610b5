"""NIfTI files written slab by slab, of volumes that are nowhere as a whole."""

import errno
import gzip
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from numpy.typing import NDArray

from mics.files.whole import write_whole
from mics.image import completeness

SUFFIXES = (".nii", ".nii.gz")
LONGEST = 2**15 - 1
"""Voxels along an axis that a NIfTI-1 header can tell."""

_HEADER, _DIM = 352, 42  # bytes before the voxels, and where the first of three sizes stands, int16
# ITK's compressor takes as long as zlib does at its fastest, whose files are a tenth larger; one step up it takes twice as long.
_LEVEL, _MEMORY = 1, 9


def write_by_slabs(
    path: Path, suffix: str, like: sitk.Image, size: tuple[int, int, int], slabs: Iterable[NDArray[Any]]
) -> None:
    """Write what ITK would write of a volume of ``size``; the file appears complete or not at all.

    Args:
        path: The file.
        suffix: Its ending, one of :data:`SUFFIXES`.
        like: A small image with the pixel type, the first voxel, the spacing and the direction of the whole.
        size: Voxels along each axis, at most :data:`LONGEST`.
        slabs: All values in the file's order: of the first component, x running fastest, then y and z, then of the next.

    Raises:
        InputError: If it cannot be written.
    """

    def write(temporary: Path) -> None:
        sitk.WriteImage(like, str(temporary), useCompression=suffix == ".nii.gz")
        header = bytearray((gzip.decompress if suffix == ".nii.gz" else bytes)(temporary.read_bytes())[:_HEADER])
        struct.pack_into("=3h", header, _DIM, *size)
        with temporary.open("wb") as file:
            packed = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31, _MEMORY)
            squeeze: Callable[[Any], Any] = packed.compress if suffix == ".nii.gz" else lambda data: data
            file.write(squeeze(header))
            for slab in slabs:
                file.write(squeeze(slab.data))
            if suffix == ".nii.gz":
                file.write(packed.flush())
        voxels = completeness.bytes_of(like, size)
        if not completeness.is_whole(temporary, suffix, voxels):
            raise OSError(errno.EIO, "it came out of another size than its header tells")

    write_whole(path, write, suffix=suffix)
