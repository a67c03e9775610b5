"""Do the pixels of a DICOM file fit what its header says of them? ITK fills up what is missing and passes over the rest."""

from collections.abc import Mapping
from pathlib import Path

from mics.errors import InputError

PIXELS = b"\xe0\x7f\x10\x00"
"""The tag of pixel data, little-endian."""

_ROWS, _COLUMNS, _FRAMES, _SAMPLES = "0028|0010", "0028|0011", "0028|0008", "0028|0002"
_ALLOCATED, _STORED, _HIGH_BIT = "0028|0100", "0028|0101", "0028|0102"
_SLOPE, _PALETTE = "0028|1053", "PALETTE COLOR"
_PHOTOMETRIC = "0028|0004"
# A table of values for pixels, in place of slope and intercept (PS3.3, C.11.1), with its type written out.
_TABLE = b"\x28\x00\x00\x30SQ"
_EXPLICIT = (b"OW", b"OB", b"UN")
# Compressed pixel data have no length of their own and begin with an item (PS3.5, A.4).
_UNDEFINED = 2**32 - 1
_COMPRESSED = b"\xff\xff\xff\xff\xfe\xff\x00\xe0"


def refuse_other_pixels(path: Path, elements: Mapping[str, str], content: bytes | None = None) -> None:
    """Raise InputError where the pixels are not those that the header promises, or mean something else than numbers.

    Args:
        path: the file, as a sentence calls it.
        elements: its elements of text.
        content: its bytes, where ``path`` is not the file itself.
    """
    if elements.get(_PHOTOMETRIC) == _PALETTE:
        raise InputError(f"{path} holds numbers of colours (PALETTE COLOR), not HU: give the series of the scanner.")
    content = path.read_bytes() if content is None else content
    if _SLOPE not in elements and _TABLE in content[: content.rfind(PIXELS)]:
        raise InputError(
            f"{path} gives its values by a table (Modality LUT Sequence), which is not read: export the series in HU."
        )
    stored, high = _whole(elements, _STORED), _whole(elements, _HIGH_BIT)
    if stored is not None and high is not None and high != stored - 1:
        raise InputError(
            f"{path} has its {stored} bits not in the lowest place of a pixel (HighBit {high}), which is not read: export the "
            "series again."
        )
    _refuse_other_length(path, elements, content)


def _refuse_other_length(path: Path, elements: Mapping[str, str], content: bytes) -> None:
    """Raise InputError for fewer pixels than promised, and for more, unless these are zeros that fill up."""
    sizes = [_whole(elements, key) for key in (_ROWS, _COLUMNS, _ALLOCATED)]
    rows, columns, bits = sizes
    if rows is None or columns is None or bits is None or _whole(elements, _SAMPLES) not in (None, 1):
        return
    expected = rows * columns * (_whole(elements, _FRAMES) or 1) * bits // 8
    first = content.find(PIXELS)
    pixels = _pixels(content)
    if first < 0 or (pixels is None and _COMPRESSED in content):
        return
    if pixels is None or len(pixels) < expected:
        raise InputError(f"{path} was cut short: its header promises {expected} bytes of pixels. Copy it again.")
    if pixels[expected:].strip(b"\0"):
        raise InputError(
            f"{path} contradicts itself: it holds {len(pixels)} bytes of pixels, and its header promises {expected} ({rows} rows "
            f"of {columns} pixels of {bits} bits): export it again."
        )


def _pixels(content: bytes) -> bytes | None:
    """The longest pixel data of a little-endian file, as icons have some too; None where none is whole or some are compressed."""
    found: bytes | None = None
    start = content.find(PIXELS)
    while start >= 0:
        head = content[start + 4 : start + 12]
        explicit = head[:2] in _EXPLICIT
        begin = start + (12 if explicit else 8)
        length = int.from_bytes(head[4:] if explicit else head[:4], "little")
        if explicit and length == _UNDEFINED:
            return None
        if begin + length <= len(content) and (found is None or length > len(found)):
            found = content[begin : begin + length]
        start = content.find(PIXELS, start + 4)
    return found


def _whole(elements: Mapping[str, str], key: str) -> int | None:
    """A whole number; None where it is missing or none."""
    text = elements.get(key, "")
    return int(text) if text.isdecimal() else None
