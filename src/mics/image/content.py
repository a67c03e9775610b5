"""What a file is by its first bytes, where that is something else than its name says."""

import struct
import zlib
from pathlib import Path

_HEAD_BYTES = 1024
# First bytes, what they tell, and what to do.
_KINDS = (
    (b"NRRD", "NRRD", "let its name end in .nrrd"),
    (b"ObjectType", "MetaImage", "let its name end in .mha"),
    (b"NDims", "MetaImage", "let its name end in .mha"),
    (b"PK\x03\x04", "a zip", "unpack it"),
    (b"BZh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it"),
    (b"\x1f\x8b", "compressed twice", "unpack it once, by gunzip"),
    (b"<!DOCTYPE", "a web page", "download it again"),
    (b"<html", "a web page", "download it again"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself, by git lfs pull"),
    (b"\x89HDF", "HDF5 (as MINC 2 is)", "save it as .nii.gz"),
    (b"CDF\x01", "NetCDF (as MINC 1 is)", "save it as .nii.gz"),
    (b"# vtk DataFile", "VTK", "save it as .nii.gz"),
    (b"II*\0", "a picture (TIFF)", "give the scan"),
    (b"MM\0*", "a picture (TIFF)", "give the scan"),
    (b"\x89PNG", "a picture", "give the scan"),
    (b"\xff\xd8\xff", "a picture", "give the scan"),
    (b"%PDF", "a PDF", "give the scan"),
)
_ENDINGS = {"NRRD": (".nrrd", ".nhdr"), "MetaImage": (".mha", ".mhd")}
_NIFTI_LENGTHS = (348, 540)
# The group of a file's own elements (PS3.10, 7.1) begins so; that of identifying ones, with two binary ones before those of text.
_META, _IDENTIFYING, _BINARY = b"\2\0\0\0UL\4\0", 8, (0, 1)
# So many elements of text tell a data set from numbers.
_TELLING = 2


def is_dicom(path: Path) -> bool:
    """Whether a file calls itself DICOM, whatever its name."""
    return looks_like_dicom(first_bytes(path))


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first bytes say that it is DICOM (PS3.10, 7.1), or are elements of it all the same."""
    return head[128:132] == b"DICM" or lacks_preamble(head)


def lacks_preamble(head: bytes) -> bool:
    """Whether first bytes are DICOM's elements without the preamble before them: the file's own, or a data set's alone.

    The latter are little-endian, with types or without, in ascending order and of the identifying group, of which the first hold
    plain text: raw numbers do not happen to be that.
    """
    if head.startswith(_META):
        return True
    at, before, texts = 0, -1, 0
    while at + 8 <= len(head):
        group, number = struct.unpack_from("<HH", head, at)
        kind = head[at + 4 : at + 6]
        (length,) = struct.unpack_from("<H", head, at + 6) if kind.isalpha() else struct.unpack_from("<I", head, at + 4)
        value = head[at + 8 : at + 8 + length]
        if group != _IDENTIFYING or number <= before or length % 2 or len(value) < length:
            return False
        if number not in _BINARY:
            text = value.rstrip(b" \0").decode("latin-1")
            if not (text.isascii() and text.isprintable()):
                return False
            texts += bool(text)
        elif length != 4:
            return False
        if texts == _TELLING:
            return True
        at, before = at + 8 + length, number
    return False


def gunzipped(head: bytes) -> bytes:
    """What a file's first bytes unpack to where gzip made them, else themselves."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return head


def other_kind(path: Path) -> tuple[str, str] | None:
    """What a file is and what to do with it, where its name says something else; None where the name is right, or nothing known.

    A file that cannot be read is not known.
    """
    name, head = path.name.lower(), first_bytes(path)
    if head.startswith(b"\x1f\x8b") and (head := gunzipped(packed := head)) == packed:
        return None
    nifti = any(int.from_bytes(head[:4], order) in _NIFTI_LENGTHS for order in ("little", "big"))
    if nifti and not name.endswith((".nii", ".nii.gz")):
        return "NIfTI", "let its name end in .nii.gz, or in .nii where it is not compressed"
    if looks_like_dicom(head):
        return "DICOM", "give the folder of the series, or let the name of a multi-frame file end in .dcm"
    kind = next(((what, remedy) for start, what, remedy in _KINDS if head.startswith(start)), None)
    return None if kind and name.endswith(_ENDINGS.get(kind[0], "/")) else kind


def first_bytes(path: Path) -> bytes:
    """What a file begins with; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
