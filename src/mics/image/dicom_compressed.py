"""Compressed pixels of a DICOM file: do they break off, and of which size are they?

With some that do ITK ends the process, or waits for ever.
"""

from collections.abc import Iterator
from pathlib import Path

from mics.errors import InputError
from mics.image.content import first_bytes, looks_like_dicom
from mics.image.dicom_elements import PIXELS, Dataset, compressed_items, read_dataset

_HEAD_BYTES = 1024
# Transfer syntaxes of compressed pixels, as they begin: of JPEG's kinds, and RLE (PS3.5, A.4).
_COMPRESSED, _RLE = b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5\0"
# How JPEG and JPEG-LS begin, and the markers of a picture's size (ISO 10918-1, table B.1; 14495-1).
_JPEG = b"\xff\xd8"
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_MAX_PRECISION = 16
# Parts of a picture that RLE may have (PS3.5, G.5), the number of which its first four bytes say.
_MAX_PARTS = 15


def is_compressed(path: Path) -> bool:
    """Whether a DICOM file says that its pixels are compressed."""
    head = first_bytes(path)
    return looks_like_dicom(head) and (_COMPRESSED in head or _RLE in head)


def refuse_broken_compression(path: Path) -> None:
    """Raise InputError for a DICOM file whose compressed pixels break off, or begin in a way that none do; other files pass."""
    if not is_compressed(path):
        return
    dataset = read_dataset(path, path)
    pixels = None if dataset is None else dataset.elements.get(PIXELS)
    if dataset is None or pixels is None or pixels.value is not None:
        return
    items, rle = compressed_items(dataset, pixels), _RLE in dataset.content[:_HEAD_BYTES]
    if items is None or any(_is_broken(item, rle) for item in items[1:]):
        raise InputError(
            f"{path} is damaged: its compressed pixels break off, or begin as none do. Copy or export it again."
        )


def _is_broken(item: bytes, rle: bool) -> bool:
    """Whether a picture of RLE has no possible number of parts, or one of JPEG or JPEG-LS too many bits or no width."""
    if rle:
        return not 1 <= int.from_bytes(item[:4], "little") <= _MAX_PARTS
    return any(precision > _MAX_PRECISION or not columns for precision, _, columns, _ in _frame_headers(item))


def picture(dataset: Dataset) -> tuple[int, int, int] | None:
    """Rows, columns and values a pixel of the first compressed picture; None where it tells of none."""
    pixels = dataset.elements.get(PIXELS)
    if pixels is None or pixels.value is not None:
        return None
    for item in (compressed_items(dataset, pixels) or [])[1:2]:
        for _, rows, columns, samples in _frame_headers(item):
            # Lines of 0 are counted after the pixels, a size of 0 of JPEG-LS in a segment of its own.
            return (rows, columns, samples) if rows and columns else None
    return None


def _frame_headers(item: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Bits, rows, columns and values a pixel, where a picture of JPEG or JPEG-LS first tells them."""
    at = 2
    while item.startswith(_JPEG) and at + 10 <= len(item) and item[at] == 0xFF:
        if item[at + 1] in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(item[n : n + 2], "big") for n in (at + 5, at + 7))
            yield item[at + 4], rows, columns, item[at + 9]
            return
        at += 2 + int.from_bytes(item[at + 2 : at + 4], "big")
