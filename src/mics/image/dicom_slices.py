"""The slices of a DICOM series: is each whole, are they of one volume, and are none missing? ITK would make up what is not."""

import itertools
import operator
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, counted
from mics.image.checks import LEAST_EDGE_MM
from mics.image.content import gunzipped, looks_like_dicom
from mics.image.dicom_pixels import has_bits_beyond, warn_of_bits_beyond

MODALITY, POSITION, ORIENTATION, SPACING = "0008|0060", "0020|0032", "0020|0037", "0028|0030"
_INTERCEPT, _SLOPE = "0028|1052", "0028|1053"
_ROWS, _COLUMNS = "0028|0010", "0028|0011"
# Parts of a name that are empty may be left out at the end of it (PS3.5, 6.2.1).
_NAME, _EMPTY_PARTS = "0010|0010", re.compile(r"[\^ ]+(?==|$)|=+$")
_CHARACTERS = "0008|0005"
_STORED = "0028|0101"
# In HU, and a step: a CT between such bounds was written with a slope for other values, and wrapped.
_NARROWEST_HU, _FINE_SLOPE = 200.0, 0.1
_CLASS, _INSTANCE = "0008|0016", "0008|0018"
# By what slices of several volumes are told apart, in words and with the element's name.
_OF_A_VOLUME = (
    ("acquisitions (AcquisitionNumber", "0020|0012"),
    ("phases (TemporalPositionIdentifier", "0020|0100"),
    ("phases (NominalPercentageOfCardiacPhase", "0020|9241"),
    ("tube voltages (KVP", "0018|0060"),
    ("reconstructions (ConvolutionKernel", "0018|1210"),
    ("series (SeriesNumber", "0020|0011"),
)
# What may change or be missing within a volume, by overlapping rotations, uneven hearts and slices that were worked on: of two
# volumes are two values that change from each slice to the next.
_OF_A_PIECE = (
    ("acquisitions (AcquisitionTime", "0008|0032"),
    ("phases (TriggerTime", "0018|1060"),
    ("phases (ContrastBolusAgent", "0018|0010"),
    ("kinds (ImageType", "0008|0008"),
    ("series (SeriesDescription", "0008|103e"),
    ("series (ProtocolName", "0018|1030"),
    ("studies (StudyInstanceUID", "0020|000d"),
    ("acquisitions (AcquisitionDate", "0008|0022"),
    ("acquisitions (AcquisitionDateTime", "0008|002a"),
    ("phases (ContrastBolusStartTime", "0018|1042"),
    ("reconstructions (SliceThickness", "0018|0050"),
    ("reconstructions (ReconstructionDiameter", "0018|1100"),
    ("scanners (DeviceSerialNumber", "0018|1000"),
)
# So few in turns tell nothing.
_FEWEST_TURNS = 3
# The class of an object, which a file says of itself at its beginning, and its elements with and without types.
_HEAD_BYTES = 1024
_STATED_CLASS = re.compile(rb"(?:\x02\x00\x02\x00UI..|\x08\x00\x16\x00(?:UI..|..\x00\x00))([0-9.]*)", re.DOTALL)
# Headers round the six numbers of an orientation to two digits, not more coarsely.
_MIN_RIGHT = 0.02
# What all slices of a volume have in common, and by how much numbers may differ by rounding.
_COMMON = {
    "patient": ("0010|0020", 0.0),
    "patient's name": (_NAME, 0.0),
    "frame of reference": ("0020|0052", 0.0),
    "modality": (MODALITY, 0.0),
    "orientation": (ORIENTATION, 1e-2),
    "pixel spacing": (SPACING, 1e-3),
    "number of rows": (_ROWS, 0.0),
    "number of columns": (_COLUMNS, 0.0),
}


@dataclass(frozen=True)
class Slice:
    """A file and those of its elements that are text."""

    name: str
    elements: dict[str, str]

    def numbers(self, key: str) -> NDArray[np.float64]:
        """The values of an element of decimal numbers."""
        return to_numbers(self.elements[key])


def refuse_unlike(folder: Path, slices: Sequence[Slice]) -> None:
    """Raise InputError unless every slice has a place, a size and a scale, and all are of one volume.

    Warns of pixels with more bits than their headers say.
    """
    if not all(key in one.elements for one in slices for key in (POSITION, ORIENTATION)):
        raise GeometryError(f"{folder} has slices without position or orientation, so it is not a volume.")
    for what, (key, tolerance) in _COMMON.items():
        _refuse_mixed(folder, slices, what, key, tolerance)
    beyond = [one for one in slices if _has_bits_beyond(one)]
    if beyond:
        warn_of_bits_beyond(folder, beyond[0].elements, f", in {len(beyond)} of its {len(slices)} slices")
    _refuse_partly_scaled(folder, slices)
    _refuse_doubled(folder, slices)


def _has_bits_beyond(one: Slice) -> bool:
    """Whether a slice's pixels have more bits than it says.

    Raises InputError where ITK would make up its place, size, scale or pixels.
    """
    refuse_invalid_geometry(one.name, *(one.elements.get(key, "") for key in (POSITION, ORIENTATION, SPACING)))
    for name, key in (("RescaleSlope", _SLOPE), ("RescaleIntercept", _INTERCEPT)):
        numbers = _header_numbers(one.elements.get(key, ""))
        sound = len(numbers) == 1 and np.isfinite(numbers[0]) and (key != _SLOPE or numbers[0] != 0)
        if key in one.elements and not sound:
            raise InputError(
                f"{one.name} has {one.elements[key] or 'nothing'} for its {name}, so its values cannot be HU: export the "
                "series again."
            )
    _refuse_narrow_scale(one)
    return has_bits_beyond(Path(one.name), one.elements)


def _refuse_narrow_scale(one: Slice) -> None:
    """Raise InputError for a CT slice whose slope leaves its bits no room for HU, so that these were wrapped by its writer."""
    stored, slope = one.elements.get(_STORED, ""), _header_numbers(one.elements.get(_SLOPE, "1"))
    if one.elements.get(MODALITY) != "CT" or not stored.isdecimal() or len(slope) != 1 or abs(slope[0]) >= _FINE_SLOPE:
        return
    span = float(abs(slope[0])) * 2 ** int(stored)
    if span < _NARROWEST_HU:
        raise InputError(
            f"{one.name} cannot hold HU: with its RescaleSlope of {slope[0]:g}, {stored} bits reach over {span:.0f} of them, so "
            "values were cut off or wrapped as it was written: write the series again with a slope of 1."
        )


def refuse_invalid_geometry(name: str | Path, position: str, orientation: str, spacing: str) -> None:
    """Raise InputError unless the three elements are a place, two directions at a right angle, and two lengths."""
    sizes, place, directions = _header_numbers(spacing), _header_numbers(position), _header_numbers(orientation)
    if len(sizes) != 2 or not np.isfinite(sizes).all() or sizes.min() <= LEAST_EDGE_MM:
        raise InputError(
            f"{name} does not say how large its pixels are (PixelSpacing {spacing or 'none'}): export the series again."
        )
    if len(place) != 3 or not np.isfinite(place).all():
        raise InputError(
            f"{name} does not say where it lies (ImagePositionPatient {position or 'none'}): export the series again."
        )
    if len(directions) != 6 or not np.abs(_gram(directions) - np.eye(2)).max() <= _MIN_RIGHT:
        raise InputError(
            f"{name} has an orientation that is no two directions at a right angle ({orientation}): export the series again."
        )


def _refuse_partly_scaled(folder: Path, slices: Sequence[Slice]) -> None:
    """Raise InputError where some slices are rescaled and others, which ITK takes as they are stored, do not say by what."""
    for name, key, neutral in (("RescaleIntercept", _INTERCEPT, 0.0), ("RescaleSlope", _SLOPE, 1.0)):
        without = [one for one in slices if key not in one.elements]
        if without and any(one.numbers(key)[0] != neutral for one in slices if key in one.elements):
            raise InputError(
                f"{folder} has no {name} in {len(without)} of its {len(slices)} slices, the first {Path(without[0].name).name}, "
                "so their values are not HU as the others' are: export the series again."
            )


def refuse_interleaved(folder: Path, slices: Sequence[Slice]) -> None:
    """Raise InputError where slices of two acquisitions, phases or reconstructions, each at places of its own, lie between each
    other.

    ``slices``: in the order of their places. Acquisitions that follow each other along the table are one volume.
    """
    for what, key in (*_OF_A_VOLUME, *_OF_A_PIECE):
        values = _in_one_way([one.elements.get(key, "") for one in slices])
        if (what, key) in _OF_A_VOLUME:
            mixed = are_interleaved([value for value in values if value])
        else:
            changes = all(itertools.starmap(operator.ne, itertools.pairwise(values)))
            mixed = changes and len(set(values)) == 2 and len(values) > _FEWEST_TURNS
        if mixed:
            found = ", ".join(value or "none" for value in sorted(set(values)))
            raise InputError(
                f"{folder} holds slices of several {what} {found}) that lie between each other: copy those of one into a folder "
                "of their own."
            )


def _in_one_way(texts: Sequence[str]) -> list[str]:
    """Texts, those of the same decimal numbers, which may be written in several ways, as the first of them is."""
    first: dict[tuple[float, ...] | str, str] = {}
    return [first.setdefault(tuple(_header_numbers(text).tolist()) or text, text) for text in texts]


def are_interleaved(values: Sequence[str]) -> bool:
    """Whether things in a row, of which each is one of several, lie between each other; one alone among others tells nothing."""
    pieces = 1 + sum(value != before for before, value in itertools.pairwise(values))
    return pieces > len(set(values)) + 1


def refuse_broken_siblings(slices: Sequence[Slice], listed: set[str]) -> None:
    """Raise InputError for files beside the slices that are of their kind and are not read, which GDCM leaves out in silence:
    compressed by gzip, cut short, or with the ending that the slices have and no DICOM within.
    """
    kind = slices[0].elements.get(_CLASS, "").encode()
    # An ending that one of several slices has is its number, as in "7.dcm.7".
    counts = Counter(Path(one.name).suffix for one in slices)
    endings = {ending for ending, count in counts.items() if count > 1 or len(slices) == 1}
    for place in sorted({Path(one.name).parent for one in slices}):
        for file in sorted(place.iterdir()):
            if str(file) in listed or file.name.startswith(".") or not file.is_file():
                continue
            with file.open("rb") as content:
                head = content.read(_HEAD_BYTES)
            inner = gunzipped(head)
            broken = file.suffix in endings and not looks_like_dicom(head) and (file.suffix or not head.strip(b"\0"))
            if not broken and not (looks_like_dicom(inner) and _may_be_of(kind, inner)):
                continue
            wrong = (
                "is damaged, empty or was cut short" if inner == head else "is compressed by gzip and so is not read"
            )
            raise InputError(
                f"{file} {wrong}, so a slice may be missing: copy or unpack it again, or take it away if it is none."
            )


def _may_be_of(kind: bytes, head: bytes) -> bool:
    """Whether a file's first bytes say the class ``kind``, or broke off before they said one."""
    stated = _STATED_CLASS.search(head)
    broken_off = len(head) < _HEAD_BYTES
    return bool(kind) and (
        broken_off if stated is None else stated[1] == kind or (broken_off and kind.startswith(stated[1]))
    )


def _refuse_doubled(folder: Path, slices: Sequence[Slice]) -> None:
    """Raise InputError, naming two of them, where slices lie at one place, as those of two acquisitions or phases do."""
    places: dict[tuple[float, ...], Slice] = {}
    for one in slices:
        other = places.setdefault(tuple(one.numbers(POSITION).round(3).tolist()), one)
        if other is one:
            continue
        names = [Path(each.name).relative_to(folder) for each in (other, one)]
        if other.elements.get(_INSTANCE, "") == one.elements.get(_INSTANCE, "none"):
            raise InputError(
                f"{folder} holds a slice twice ({names[0]} and {names[1]} have one SOPInstanceUID and one place): take the "
                "copies away."
            )
        raise InputError(
            f"{folder} holds doubled slices, as of two acquisitions or phases ({names[0]} and {names[1]} lie at the same place): "
            "copy those of one into a folder of their own."
        )


def _header_numbers(text: str) -> NDArray[np.float64]:
    """The numbers of an element; none where it is empty or no list of numbers."""
    try:
        return to_numbers(text)
    except ValueError:
        return np.array([])


def _gram(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products of the directions of rows and columns: 1 and 0 where they are unit vectors at a right angle."""
    directions = orientation.reshape(2, 3)
    products: NDArray[np.float64] = directions @ directions.T
    return products


def _refuse_mixed(folder: Path, slices: Sequence[Slice], what: str, key: str, tolerance: float) -> None:
    """Raise InputError, naming values and files, unless all slices have the element alike."""
    values = [one.elements.get(key, "") for one in slices]
    if key == _NAME:
        values = [_EMPTY_PARTS.sub("", value) for value in values]
    usual = Counter(values).most_common(1)[0][0]
    usual_characters = slices[values.index(usual)].elements.get(_CHARACTERS)
    for value, one in zip(values, slices, strict=True):
        if value == usual or (tolerance and value and usual and is_close(value, usual, tolerance)):
            continue
        if key == _NAME and not f"{value}{usual}".isascii() and one.elements.get(_CHARACTERS) != usual_characters:
            continue  # one name in two character sets; the patient's number is compared too
        raise InputError(
            f"{folder} holds slices that differ in {what}: {value or 'none'} in {Path(one.name).name}, {usual or 'none'} "
            f"in {counted(values.count(usual), 'other')}: copy those that belong together into a folder of their own."
        )


def is_close(value: str, other: str, tolerance: float) -> bool:
    """Whether two elements are as many numbers, none of which differs by more than ``tolerance``."""
    numbers, others = _header_numbers(value), _header_numbers(other)
    return len(numbers) == len(others) > 0 and np.allclose(numbers, others, rtol=0, atol=tolerance)


def to_numbers(text: str) -> NDArray[np.float64]:
    """The numbers of an element; raises ValueError where it is empty or no list of numbers."""
    return np.array([float(number) for number in text.split("\\")])
