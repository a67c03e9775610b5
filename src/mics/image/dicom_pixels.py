"""Do the pixels of a DICOM file fit what its header says of them? ITK fills up what is missing and passes over the rest."""

from collections.abc import Mapping
from pathlib import Path

from mics.errors import InputError
from mics.image.dicom_elements import PIXELS, Dataset, read_dataset

_ROWS, _COLUMNS, _FRAMES, _SAMPLES = "0028|0010", "0028|0011", "0028|0008", "0028|0002"
_ALLOCATED, _STORED, _HIGH_BIT = "0028|0100", "0028|0101", "0028|0102"
_SLOPE, _PALETTE = "0028|1053", "PALETTE COLOR"
_PHOTOMETRIC = "0028|0004"
# How the meanings of pixels of several values begin (PS3.3, C.7.6.3.1.2).
_COLOURS = ("RGB", "ARGB", "HSV", "CMYK", "YBR")
# How JPEG and JPEG-LS begin, and the markers of a picture's size (ISO 10918-1, table B.1; 14495-1).
_JPEG = b"\xff\xd8"
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
# A table of values for pixels, in place of slope and intercept (PS3.3, C.11.1).
_TABLE = 0x00283000


def refuse_other_pixels(path: Path, elements: Mapping[str, str], dataset: Dataset | None = None) -> None:
    """Raise InputError where the pixels are not those that the header promises, or mean something else than numbers.

    Args:
        path: the file, as a sentence calls it.
        elements: its elements of text.
        dataset: all its elements, where they are known already or ``path`` is not the file itself.
    """
    if elements.get(_PHOTOMETRIC) == _PALETTE:
        raise InputError(f"{path} holds numbers of colours (PALETTE COLOR), not HU: give the series of the scanner.")
    meaning = elements.get(_PHOTOMETRIC, "")
    if (_whole(elements, _SAMPLES) or 1) > 1 or meaning.startswith(_COLOURS):
        raise InputError(f"{path} holds colours ({meaning or 'RGB'}), not HU: give a CT series.")
    dataset = read_dataset(path, path) if dataset is None else dataset
    if dataset is not None and _SLOPE not in elements and _TABLE in dataset.elements:
        raise InputError(
            f"{path} gives its values by a table (Modality LUT Sequence), which is not read: export the series in HU."
        )
    stored, high = _whole(elements, _STORED), _whole(elements, _HIGH_BIT)
    if stored is not None and high is not None and high != stored - 1:
        raise InputError(
            f"{path} has its {stored} bits not in the lowest place of a pixel (HighBit {high}), which is not read: export the "
            "series again."
        )
    if dataset is not None:
        _refuse_other_length(path, elements, dataset)
        _refuse_other_picture(path, elements, dataset)


def _refuse_other_length(path: Path, elements: Mapping[str, str], dataset: Dataset) -> None:
    """Raise InputError for fewer pixels than promised, and for more, unless these are zeros that fill up."""
    rows, columns, bits = (_whole(elements, key) for key in (_ROWS, _COLUMNS, _ALLOCATED))
    pixels = dataset.elements.get(PIXELS)
    if rows is None or columns is None or bits is None or pixels is None or pixels.value is None:
        return
    expected = rows * columns * (_whole(elements, _FRAMES) or 1) * bits // 8
    if len(pixels.value) < expected:
        raise InputError(f"{path} was cut short: its header promises {expected} bytes of pixels. Copy it again.")
    if pixels.value[expected:].strip(b"\0"):
        raise InputError(
            f"{path} contradicts itself: it holds {len(pixels.value)} bytes of pixels, and its header promises {expected} "
            f"({rows} rows of {columns} pixels of {bits} bits): export it again."
        )


def _refuse_other_picture(path: Path, elements: Mapping[str, str], dataset: Dataset) -> None:
    """Raise InputError where a JPEG or JPEG-LS picture has colours or another size than said; ITK refuses those of JPEG 2000."""
    pixels = dataset.elements.get(PIXELS)
    picture = _picture(dataset.content[pixels.start :]) if pixels is not None and pixels.value is None else None
    if picture is None:
        return
    rows, columns, samples = picture
    if samples > 1:
        raise InputError(
            f"{path} contradicts itself: its compressed pixels have {samples} values each, as colours have, and its header "
            "promises one: give the series of the scanner."
        )
    stated = _whole(elements, _ROWS), _whole(elements, _COLUMNS)
    if None not in stated and stated != (rows, columns):
        raise InputError(
            f"{path} contradicts itself: its compressed picture has {rows} rows of {columns} pixels, and its header promises "
            f"{stated[0]} of {stated[1]}: export it again."
        )


def _picture(items: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and values a pixel of the first compressed picture in DICOM's ``items``; None where it tells of none."""
    first = 8 + int.from_bytes(items[4:8], "little")  # after the table of offsets
    data = items[first + 8 : first + 8 + int.from_bytes(items[first + 4 : first + 8], "little")]
    at = 2
    while data.startswith(_JPEG) and at + 10 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(data[n : n + 2], "big") for n in (at + 5, at + 7))
            # Lines of 0 are counted after the pixels, a size of 0 of JPEG-LS in a segment of its own.
            return (rows, columns, data[at + 9]) if rows and columns else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _whole(elements: Mapping[str, str], key: str) -> int | None:
    """A whole number; None where it is missing or none."""
    text = elements.get(key, "")
    return int(text) if text.isdecimal() else None
