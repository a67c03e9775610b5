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


def _whole(elements: Mapping[str, str], key: str) -> int | None:
    """A whole number; None where it is missing or none."""
    text = elements.get(key, "")
    return int(text) if text.isdecimal() else None
