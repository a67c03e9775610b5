"""NIfTI files written slab by slab, of volumes that are nowhere as a whole."""

import errno
import gzip
import io
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import SimpleITK as sitk
import torch
from isal import isal_zlib
from numpy.typing import NDArray

from mics.files.whole import write_whole
from mics.image import completeness

T = TypeVar("T")

SUFFIXES = (".nii", ".nii.gz")
MAX_EXTENT = 2**15 - 1
"""Voxels along an axis that a NIfTI-1 header can tell."""

_HEADER, _DIM = 352, 42  # bytes before the voxels, and where the first of three sizes stands, int16
_LEVEL = 2
"""Of ISA-L, which packs a displacement at this level as well as zlib at its fastest, in a sixth of the time."""
_CLOSE_LEVEL = 5
"""Of zlib: the next takes twice the time for a sixth less."""
_GZIP_HEADER = struct.pack(
    "<2B2BI2B", 0x1F, 0x8B, isal_zlib.DEFLATED, 0, 0, 4, 255
)  # no name, no time, at its fastest, any system
_MAX_THREADS = 4
"""Each has a team of torch's own threads, and so has the other direction's file."""
_LAST_BLOCK = b"\x03\x00"

Slab = Callable[[], NDArray[Any]]
"""What makes the values of a slab."""


def write_by_slabs(
    path: Path,
    suffix: str,
    like: sitk.Image,
    size: tuple[int, int, int],
    slabs: Iterable[Slab],
    *,
    closely: bool = False,
) -> None:
    """Write what ITK would write of a volume of ``size``; the file appears complete or not at all.

    Args:
        path: The file.
        suffix: Its ending, one of :data:`SUFFIXES`.
        like: A small image with the pixel type, the first voxel, the spacing and the direction of the whole.
        size: Voxels along each axis, at most :data:`MAX_EXTENT`.
        slabs: What makes all values in the file's order: of the first component, x running fastest, then y and z, then of the
            next. As many are made and packed at a time as torch has threads, at most four; the file is the same on any number.
        closely: Pack a .nii.gz by zlib: rounded displacements to two thirds of the size, in eight times the time.

    Raises:
        InputError: If it cannot be written.
    """

    def write(temporary: Path) -> None:
        sitk.WriteImage(like, str(temporary), useCompression=suffix == ".nii.gz")
        header = bytearray((gzip.decompress if suffix == ".nii.gz" else bytes)(temporary.read_bytes())[:_HEADER])
        struct.pack_into("=3h", header, _DIM, *size)
        with temporary.open("wb") as file:
            if suffix == ".nii":
                file.write(header)
                for made in _in_order(slabs):
                    file.write(made.data)
            else:
                _write_gzip(file, header, slabs, _closely if closely else _quickly)
        voxels = completeness.bytes_of(like, size)
        if not completeness.is_whole(temporary, suffix, voxels):
            raise OSError(errno.EIO, "it came out of another size than its header tells")

    write_whole(path, write, suffix=suffix)


def _write_gzip(
    file: io.BufferedWriter, header: bytearray, slabs: Iterable[Slab], blocks: Callable[[Any], bytes]
) -> None:
    """One gzip member of the header and all slabs, each slab a run of blocks of its own that knows nothing of the others."""

    def pack(slab: Slab) -> tuple[NDArray[Any], bytes]:
        values = slab()
        return values, blocks(values.data)

    file.write(_GZIP_HEADER + blocks(header))
    check, length = isal_zlib.crc32(header), len(header)
    for values, packed in _in_order(partial(pack, slab) for slab in slabs):
        file.write(packed)
        check, length = isal_zlib.crc32(values.data, check), length + values.nbytes
    file.write(_LAST_BLOCK + struct.pack("<2I", check, length % (1 << 32)))


def _quickly(data: Any) -> bytes:
    """Deflated, to the end of a byte, so that other blocks can follow."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(isal_zlib.Z_SYNC_FLUSH)


def _closely(data: Any) -> bytes:
    packer = zlib.compressobj(_CLOSE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def _in_order(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results of ``tasks``, one after the other; few are begun before the first is asked for, as each holds memory."""
    threads = min(torch.get_num_threads(), _MAX_THREADS)
    begun: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for task in tasks:
            begun.append(pool.submit(task))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
