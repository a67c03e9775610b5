"""Small files that unpack to much: nothing is held of what their headers do not promise, or no memory is there for."""

import gzip
import subprocess
import sys
import zlib

import nibabel
import numpy as np
import pytest

from mics.errors import InputError
from mics.image.io import read_image

HU = np.random.default_rng(0).integers(-1000, 1500, size=(7, 6, 5)).astype(np.int16)
ZEROS = bytes(1 << 20)


def packed_nifti(size, blocks):
    """A header for ``size`` voxels of 16 bits, with so many MB of zeros behind it, gzipped."""
    header = nibabel.Nifti1Image(HU, np.eye(4)).header
    header.set_data_shape(size)
    header.set_sform(np.eye(4), 1)
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(header.binaryblock + bytes(4)), *(packer.compress(ZEROS) for _ in range(blocks))]
    return b"".join([*parts, packer.flush()])


def packed_text(head, size, blocks, wbits):
    packer = zlib.compressobj(9, wbits=wbits)
    parts = b"".join([*(packer.compress(ZEROS) for _ in range(blocks)), packer.flush()])
    return head.format(size=" ".join(map(str, size)), length=len(parts)).encode() + parts


NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: {size}\nencoding: gzip\nendian: little\n"
    "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n"
    "CompressedDataSize = {length}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\n"
    "DimSize = {size}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
FORMATS = {
    ".nii.gz": packed_nifti,
    ".nrrd": lambda size, blocks: packed_text(NRRD, size, blocks, 31),
    ".mha": lambda size, blocks: packed_text(MHA, size, blocks, 15),
}

READ = """
import resource, sys
from mics.errors import InputError
from mics.image.io import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("suffix", FORMATS)
def test_more_voxels_than_the_header_promises(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(FORMATS[suffix]((7, 6, 5), 90))
    assert path.stat().st_size < 120_000
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert f"bomb{suffix} is damaged: its compressed data unpack to more than the 420 bytes" in message
    assert int(kilobytes) < 30_000


@pytest.mark.parametrize("suffix", FORMATS)
def test_more_voxels_than_memory_holds(tmp_path, suffix):
    # 2 GB that the file could hold by its length, under a limit of 3 GB
    path = tmp_path / f"large{suffix}"
    path.write_bytes(FORMATS[suffix]((1024, 1024, 1000), 1) + bytes(3_000_000))
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9,) * 2){READ}"
    done = subprocess.run([sys.executable, "-c", limited, path], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert f"large{suffix} unpacks to 2.1 GB of voxels" in message
    assert int(kilobytes) < 30_000


def test_a_block_that_is_filled_up_is_no_bomb(tmp_path):
    path = tmp_path / "scan.nii.gz"
    content = nibabel.Nifti1Image(HU, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(content + bytes(512)))
    assert np.array_equal(read_image(path).array, HU)
    path.write_bytes(gzip.compress(content + ZEROS))
    with pytest.raises(InputError, match="more than the 420 bytes"):
        read_image(path)
