"""Do the pixels of a DICOM file fit what its header says of them? ITK fills up what is missing and passes over the rest."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mics.errors import InputError
from mics.image.dicom_compressed import picture
from mics.image.dicom_elements import PIXELS, Dataset, read_dataset

_ROWS, _COLUMNS, _FRAMES, _SAMPLES = "0028|0010", "0028|0011", "0028|0008", "0028|0002"
_ALLOCATED, _STORED, _HIGH_BIT = "0028|0100", "0028|0101", "0028|0102"
_SLOPE, _PALETTE = "0028|1053", "PALETTE COLOR"
_PHOTOMETRIC, _REPRESENTATION = "0028|0004", "0028|0103"
# Groups of overlays begin so, with an element of the bit in which one is kept among the pixels (before PS3.5 of 2004).
_OVERLAYS, _OVERLAY_BIT = 0x60, 0x0102
# How the meanings of pixels of several values begin (PS3.3, C.7.6.3.1.2).
_COLOURS = ("RGB", "ARGB", "HSV", "CMYK", "YBR")
# A table of values for pixels, in place of slope and intercept (PS3.3, C.11.1).
_TABLE = 0x00283000


def has_bits_beyond(path: Path, elements: Mapping[str, str], dataset: Dataset | None = None) -> bool:
    """Whether pixels, which are not compressed, have more bits than the header says, of which ITK leaves the upper ones out.

    Args:
        path: the file, as a sentence calls it.
        elements: its elements of text.
        dataset: all its elements, where they are known already or ``path`` is not the file itself.

    Raises:
        InputError: where the pixels are not those that the header promises, or mean something else than numbers.
    """
    if elements.get(_PHOTOMETRIC) == _PALETTE:
        raise InputError(f"{path} holds numbers of colours (PALETTE COLOR), not HU: give the series of the scanner.")
    meaning = elements.get(_PHOTOMETRIC, "")
    if (_whole(elements, _SAMPLES) or 1) > 1 or meaning.startswith(_COLOURS):
        raise InputError(f"{path} holds colours ({meaning or 'RGB'}), not HU: give a CT series.")
    dataset = read_dataset(path, path) if dataset is None else dataset
    if dataset is not None and _SLOPE in elements and _TABLE in dataset.elements and dataset.elements[_TABLE].items:
        raise InputError(
            f"{path} gives its values in two ways, by a table (Modality LUT Sequence) and by its RescaleSlope: export the series "
            "in HU."
        )
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
    if dataset is None:
        return False
    _refuse_other_length(path, elements, dataset)
    _refuse_other_picture(path, elements, dataset)
    return _exceeds(elements, dataset)


def warn_of_bits_beyond(shown: Path, elements: Mapping[str, str], part: str = "") -> None:
    """Warn of pixels with more bits than the header says, of ``part`` of what is ``shown``."""
    warnings.warn(
        f"{shown} has pixels of more than the {elements[_STORED]} bits that its headers promise (BitsStored){part}: what is "
        "above is left out, so their values may be wrong.",
        UserWarning,
        stacklevel=6,
    )


def _exceeds(elements: Mapping[str, str], dataset: Dataset) -> bool:
    """Whether any pixel's upper bits are neither 0 nor its sign's; those of an overlay that is kept there do not count."""
    stored, bits, pixels = _whole(elements, _STORED), _whole(elements, _ALLOCATED), dataset.elements.get(PIXELS)
    if pixels is None or not pixels.value or stored is None or bits not in (16, 32) or not 0 < stored < bits:
        return False
    overlays = (one for tag, one in dataset.elements.items() if tag >> 24 == _OVERLAYS and tag & 0xFFFF == _OVERLAY_BIT)
    if any(dataset.number(one) for one in overlays):
        return False
    letter = "i" if elements.get(_REPRESENTATION) == "1" else "u"
    kind = np.dtype(f"{letter}{bits // 8}").newbyteorder(dataset.order)
    values = np.frombuffer(pixels.value[: len(pixels.value) // kind.itemsize * kind.itemsize], kind)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    in_stored = low >= 0 and high < 1 << stored
    # A sign goes on above the uppermost bit that is stored, or does not.
    return not in_stored and not (kind.kind == "i" and -(1 << (stored - 1)) <= low and high < 1 << (stored - 1))


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
    found = picture(dataset)
    if found is None:
        return
    rows, columns, samples = found
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


def _whole(elements: Mapping[str, str], key: str) -> int | None:
    """A whole number; None where it is missing or none."""
    text = elements.get(key, "")
    return int(text) if text.isdecimal() else None
