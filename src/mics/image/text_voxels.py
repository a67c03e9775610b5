"""Are the voxels of an NRRD or MetaImage file those that its header promises?

ITK would take memory for any size, make a scan of what was there where compressed data do not fit, stop in the midst of a
longer file, and read a number written as text up to its first odd character.
"""

import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import SimpleITK as sitk

from mics.errors import InputError
from mics.image import checks
from mics.image.text_headers import data_file, header_lines, is_compressed, refuse_parted

_CHUNK = 1 << 18
# How gzip and zlib's data begin.
_GZIP = b"\x1f\x8b"
_PACKED = (_GZIP, b"\x78\x01", b"\x78\x9c", b"\x78\xda")
_WHOLE = re.compile(rb"[+-]?[0-9]+(\.0*)?")
_REAL = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


def refuse_damaged_data(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise InputError for an NRRD or MetaImage file with other voxels than its header says, or damaged compressed ones."""
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", kind)
    count = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    expected = count * (int(bits[1]) // 8 if bits else 1)
    start, pairs = header_lines(path)
    fields = dict(pairs)
    encoding = fields.get("encoding", "gzip" if is_compressed(fields) else "raw").lower()
    refuse_parted(path, fields)
    other = data_file(fields)
    data, start = (path, start) if other.upper() == "LOCAL" else (path.parent / other, 0)
    lines, skipped = _skips(fields)
    with data.open("rb") as file:
        file.seek(start)
        if encoding == "hex" and not lines and not skipped:
            _refuse_other_length(path, sum(map(len, _words(file))) // 2, expected)
        elif encoding in ("ascii", "text", "txt") and not lines and not skipped:
            _refuse_other_numbers(path, file, count, kind)
        elif encoding == "raw":
            for _ in range(lines):
                file.readline()
            _refuse_other_bytes(path, file, skipped, expected)
        elif encoding in ("gzip", "gz") and ("dimsize" in fields or (not lines and not skipped)):
            file.seek(max(0, skipped), 1)
            _refuse_other_packed(path, file, fields, expected)


def _skips(fields: dict[str, str]) -> tuple[int, int]:
    """The lines and then the bytes before the voxels; -1 bytes where these are the last of the file."""
    names = (("line skip", "lineskip"), ("byte skip", "byteskip", "headersize"))
    lines, skipped = (next((fields[name] for name in alike if name in fields), "0") for alike in names)
    try:
        return max(0, int(lines)), int(skipped)
    except ValueError:  # ITK says so
        return 0, 0


def _refuse_other_length(path: Path, found: int, expected: int) -> None:
    if found < expected:
        raise InputError(f"{path} was cut short: its header promises {expected} bytes of voxels. Copy it again.")
    checks.refuse_left_over(path, b"x" * (found > expected), expected)


def _refuse_other_bytes(path: Path, file: BinaryIO, skipped: int, expected: int) -> None:
    """Raise InputError unless the voxels begin after ``skipped`` bytes and are as many as promised."""
    begin = file.tell() + max(0, skipped)
    file.seek(begin)
    packed = file.read(2) in _PACKED
    size = file.seek(0, 2)
    if packed and size - begin < expected:
        raise InputError(
            f"{path} has fewer voxels than its header promises, and they look compressed: say so there (CompressedData = True "
            "and CompressedDataSize in MetaImage, encoding: gzip in NRRD)."
        )
    _refuse_other_length(path, min(size - begin, expected), expected)
    checks.refuse_larger_than_memory(path, expected)
    file.seek(size if skipped == -1 else begin + expected)
    checks.refuse_left_over(path, file.read(_CHUNK), expected)


def _refuse_other_packed(path: Path, file: BinaryIO, fields: dict[str, str], expected: int) -> None:
    """Raise InputError unless the compressed voxels are whole, of the length promised, and where ITK looks for them."""
    start = file.tell()
    left = file.seek(0, 2) - start
    _refuse_other_length(path, min(left * checks.MAX_INFLATION, expected), expected)
    checks.refuse_larger_than_memory(path, expected)
    file.seek(start)
    try:
        found, packed = _inflated(file, expected, members="dimsize" not in fields)  # ITK's MetaImage reads one
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or was cut short (its compressed data break off): copy it again."
        ) from error
    if found > expected:
        raise checks.unpacks_to_more(path, expected)
    if found != expected:
        raise InputError(f"{path} is damaged: its compressed data do not hold the {expected} bytes that it promises.")
    # MetaImage's reader takes as many bytes as are stated, and without that begins at the header; what does not unpack then
    # becomes whatever memory held.
    stated = fields.get("compresseddatasize", "none")
    missing = stated in ("none", "0") and data_file(fields).upper() != "LOCAL"
    if "dimsize" in fields and not missing and not (stated.isdecimal() and packed <= int(stated) <= left):
        raise InputError(
            f"{path} has {packed} bytes of compressed voxels and states {stated} (CompressedDataSize): write that number there, "
            "or save it again."
        )


def _refuse_other_numbers(path: Path, file: BinaryIO, count: int, kind: str) -> None:
    """Raise InputError unless a text holds ``count`` numbers, each of the type that ITK calls ``kind``."""
    form, least, most = _REAL, -math.inf, math.inf
    if "integer" in kind:
        bits = int(kind.split("-")[0])
        least, most = (0, 2**bits - 1) if "unsigned" in kind else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        form = _WHOLE
    found = 0
    for word in _words(file):
        number = word.strip(b",")
        if not number:  # commas may stand apart
            continue
        if not form.fullmatch(number) or (form is _WHOLE and not least <= int(number.split(b".")[0]) <= most):
            raise InputError(
                f"{path} has {number[:40].decode('latin-1')!r} among its voxels, which is no {kind}: save it again, with a "
                "type that holds its values, decimal points, and blanks between the numbers."
            )
        found += 1
    if found != count:
        raise InputError(
            f"{path} contradicts itself: it holds {found} numbers and its header promises {count}: convert it again."
        )


def _words(file: BinaryIO) -> Iterator[bytes]:
    """What stands between blanks and line ends."""
    rest = b""
    while chunk := file.read(_CHUNK):
        *whole, rest = re.split(rb"\s+", rest + chunk)
        yield from filter(None, whole)
    if rest:
        yield rest


def _inflated(file: BinaryIO, most: int, *, members: bool) -> tuple[int, int]:
    """How many bytes come out of zlib or gzip data, their check sums verified, and of how many; no more than just over ``most``
    is unpacked. ``members``: one may follow another, as pigz, bgzip and joined files have them.
    """
    member, length, taken = zlib.decompressobj(47), 0, 0
    while chunk := file.read(_CHUNK):
        taken += len(chunk)
        while chunk:
            length += len(member.decompress(chunk, _CHUNK))
            if length > most:
                return length, taken - len(member.unused_data)
            chunk = member.unconsumed_tail
            if not member.eof:
                continue
            chunk = member.unused_data
            if len(chunk) < len(_GZIP):
                more = file.read(_CHUNK)
                chunk, taken = chunk + more, taken + len(more)
            if not (members and chunk.startswith(_GZIP)):
                return length, taken - len(chunk)
            member = zlib.decompressobj(31)
    raise EOFError("compressed data break off")
