"""A folder of DICOM slices, a zip of one, or a multi-frame file, as one volume."""

import os
import re
import struct
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, MissingFileError
from mics.image.checks import refuse_unreadable_name, unreadable
from mics.image.dicom_pixels import PIXELS, refuse_other_pixels
from mics.image.slice_stack import SliceStack, stacked, straightened
from mics.image.zipped import unpacked

_MODALITY, _POSITION, _ORIENTATION = "0008|0060", "0020|0032", "0020|0037"
_DESCRIPTION, _IMAGE_TYPE, _FRAMES = "0008|103e", "0008|0008", "0028|0008"
_SERIES, _OPTIONS = (
    "0020|000e",
    "`series`, in a registration `fixed_series` or `moving_series`",
)
_SPACING, _BETWEEN, _INTERCEPT, _SLOPE = "0028|0030", "0018|0088", "0028|1052", "0028|1053"
_LOSSY, _LOSSY_RATIO = "0028|2110", "0028|2112"
_PHOTOMETRIC, _ROWS, _COLUMNS = "0028|0004", "0028|0010", "0028|0011"
# Headers round the six numbers of an orientation to two digits, not more coarsely.
_LEAST_RIGHT = 0.02
# What all slices of a volume have in common, and by how much numbers may differ by rounding.
_COMMON = {
    "patient": ("0010|0020", 0.0),
    "patient's name": ("0010|0010", 0.0),
    "frame of reference": ("0020|0052", 0.0),
    "modality": (_MODALITY, 0.0),
    "orientation": (_ORIENTATION, 1e-2),
    "pixel spacing": (_SPACING, 1e-3),
    "number of rows": (_ROWS, 0.0),
    "number of columns": (_COLUMNS, 0.0),
}
_DECIMAL = re.compile(rb"[-+.0-9eE\\ ]+\0?")
# Objects made for a scan, some of which have frames as a scan has.
_DERIVED = ("RTDOSE", "RTSTRUCT", "RTPLAN", "SEG", "REG", "PR", "KO", "SR")


@dataclass(frozen=True)
class _Slice:
    """A file and those of its elements that are text."""

    name: str
    elements: dict[str, str]

    def numbers(self, key: str) -> NDArray[np.float64]:
        return _numbers(self.elements[key])


def read_series(study: Path, pixel: int | None, series: str | None) -> sitk.Image:
    """A DICOM series in a folder, the folders within it, or a zip of them, rescaled to HU as its headers say; ``pixel`` as in
    ``image.io.read_itk``.

    ``series`` is the UID of one of several (Series Instance UID); None takes the only one, beside which doses, structures and
    the like do not count. Slices marked as localisers are left out with a warning; another modality than CT is warned of too,
    and slices of a tilted gantry are put straight with one.

    Raises InputError for a folder with no series, or several of which none is chosen, for slices of different patients,
    frames of reference, orientations or pixel sizes, for missing or doubled slices and for those that lie aside of each other
    unevenly, and for a zip as :func:`mics.image.zipped.unpacked` does.
    """
    with unpacked(study) as folder:
        slices = [_header(name) for name in _chosen(folder, _series(folder), series)]
        if len(slices) == 1:
            return _read_frames(study, folder, slices[0], pixel)
        slices, stack = _stack(folder, _without_localisers(study, slices))
        reader = sitk.ImageSeriesReader()
        reader.SetSpacingWarningRelThreshold(1.0)  # a step: far less even slices have been refused, in a sentence
        if pixel is not None:
            reader.SetOutputPixelType(pixel)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                reader.SetFileNames([_readable(one, Path(scratch) / f"{n}.dcm") for n, one in enumerate(slices)])
                itk: sitk.Image = reader.Execute()
        except RuntimeError as error:
            raise unreadable(folder, error) from error
        except OSError as error:
            raise MissingFileError(f"Cannot read {folder}: {error.strerror}.") from error
        _check_kind(study, itk, slices[0])
        return straightened(study, itk, stack, labels=pixel is None)


def series_uid(study: Path, series: str | None) -> str | None:
    """UID of the series that :func:`read_series` reads; None where it has none, as files without a DICOM header have."""
    with unpacked(study) as folder:
        return _header(_chosen(folder, _series(folder), series)[0]).elements.get(_SERIES)


def _series(folder: Path) -> dict[str, list[str]]:
    """The files of each series in a folder and those within it, by its UID; raises InputError if there is none."""
    files: dict[str, list[str]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            refuse_unreadable_name(Path(place, name))
        for identifier in _identifiers(place, names):
            found = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(place, identifier)
            # GDCM appends what tells series apart to the identifier; the DICOM identifier itself is in the file.
            files.setdefault(_header(found[0]).elements.get(_SERIES, identifier), []).extend(found)
    if not files:
        raise MissingFileError(
            f"{folder} holds no DICOM series: give the folder in which the slices are, or a zip of it."
        )
    return files


def _identifiers(place: str, names: list[str]) -> tuple[str, ...]:
    """What GDCM tells the series of a folder apart by; raises InputError, naming the file, where it gives up on one."""
    try:
        return sitk.ImageSeriesReader.GetGDCMSeriesIDs(place) if names else ()
    except RuntimeError as error:
        for name in sorted(names):
            if b"DICM" in Path(place, name).read_bytes()[:132]:
                _header(str(Path(place, name)))
        raise unreadable(Path(place), error) from error


def _chosen(folder: Path, files: dict[str, list[str]], series: str | None) -> list[str]:
    """The files of the series with that UID, of the only one if it is None; raises InputError, with a list, otherwise."""
    if series is not None:
        if series.strip() in files:
            return files[series.strip()]
        there = "; ".join(_describe(uid, names) for uid, names in files.items())
        raise MissingFileError(f"{folder} holds no DICOM series {series}; it holds {there}.")
    scans = {uid: names for uid, names in files.items() if _header(names[0]).elements.get(_MODALITY) not in _DERIVED}
    if len(candidates := scans or files) == 1:
        return next(iter(candidates.values()))
    there = "; ".join(_describe(uid, names) for uid, names in candidates.items())
    raise InputError(f"{folder} holds {len(candidates)} DICOM series: {there}. Choose one by its UID: {_OPTIONS}.")


def _readable(one: _Slice, copy: Path) -> str:
    """The name of a file that ITK reads rightly: a copy where SpacingBetweenSlices is 0, which ITK refuses without need of it,
    or negative, for which SimpleITK before 2.5.7 turns the slices' direction round, and of MONOCHROME1, whose values ITK turns
    upside down though it is about the display alone (DICOM PS3.3, C.7.6.3.1.2).
    """
    between, inverted = one.elements.get(_BETWEEN, ""), one.elements.get(_PHOTOMETRIC) == "MONOCHROME1"
    misread = bool(between) and _numbers(between)[0] <= 0
    if not misread and not inverted:
        return one.name
    content = Path(one.name).read_bytes()
    for text, start in _elements(content, _BETWEEN) if misread else []:
        content = content[:start] + b"1".ljust(len(text)) + content[start + len(text) :]
    if inverted:
        content = content.replace(b"MONOCHROME1", b"MONOCHROME2", 1)
    copy.write_bytes(content)
    return str(copy)


def read_file(path: Path, pixel: int | None) -> sitk.Image:
    """The volume in a multi-frame DICOM file; ``pixel`` as in ``image.io.read_itk``.

    Raises InputError for a file of one slice and as :func:`read_series` does.
    """
    return _read_frames(path, path, _header(str(path)), pixel)


def _header(name: str) -> _Slice:
    reader = _reader(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(Path(name), error) from error
    return _Slice(name, {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()})


def _reader(name: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(name)
    return reader


def _describe(uid: str, names: list[str]) -> str:
    """A series as a person knows it: description, number of slices, identifier."""
    description = _header(names[0]).elements.get(_DESCRIPTION, "no description")
    return f"'{description}' with {len(names)} slices, first {Path(names[0]).name}, {uid}"


def _check_kind(source: Path, itk: sitk.Image, first: _Slice) -> None:
    """Raise InputError for colour; warn of another modality than CT, and of compression with loss."""
    if itk.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{source} holds colour pictures, not a CT series.")
    modality = first.elements.get(_MODALITY, "")
    if modality not in ("CT", ""):
        warnings.warn(f"{source} is a series of modality {modality}, not CT.", UserWarning, stacklevel=5)
    if first.elements.get(_LOSSY) == "01":
        ratio = first.elements.get(_LOSSY_RATIO, "").split("\\")[-1]
        extent = f" to 1/{ratio}" if ratio else ""
        warnings.warn(
            f"{source} was compressed with loss{extent}, as its headers say: its HU are near what was scanned, not it.",
            UserWarning,
            stacklevel=5,
        )


def _without_localisers(study: Path, slices: list[_Slice]) -> list[_Slice]:
    """The slices that no header marks as localiser (an overview that scanners put into the series), unless all are."""
    marked = [one for one in slices if "LOCALIZER" in one.elements.get(_IMAGE_TYPE, "").upper().split("\\")]
    if not marked or len(marked) == len(slices):
        return slices
    warnings.warn(
        f"{study}: {len(marked)} of {len(slices)} slices left out, as their headers say that they are localisers.",
        UserWarning,
        stacklevel=5,
    )
    return [one for one in slices if one not in marked]


def _stack(folder: Path, slices: list[_Slice]) -> tuple[list[_Slice], SliceStack]:
    """The slices in the order of their places, and how they lie; raises InputError unless they are one volume, evenly stacked."""
    if not all(key in one.elements for one in slices for key in (_POSITION, _ORIENTATION)):
        raise GeometryError(f"{folder} has slices without position or orientation, so it is not a volume.")
    for what, (key, tolerance) in _COMMON.items():
        _refuse_mixed(folder, slices, what, key, tolerance)
    for one in slices:
        _refuse_unusable(one)
    _refuse_doubled(folder, slices)
    positions = np.array([one.numbers(_POSITION) for one in slices])
    stack = stacked(folder, positions, slices[0].numbers(_ORIENTATION), slices[0].numbers(_SPACING))
    return [slices[n] for n in stack.order], stack


def _refuse_unusable(one: _Slice) -> None:
    """Raise InputError for a slice whose place, size, scale or pixels ITK would make up."""
    _refuse_odd_place(one.name, *(one.elements.get(key, "") for key in (_POSITION, _ORIENTATION, _SPACING)))
    for name, key in (("RescaleSlope", _SLOPE), ("RescaleIntercept", _INTERCEPT)):
        numbers = _header_numbers(one.elements.get(key, ""))
        sound = len(numbers) == 1 and np.isfinite(numbers[0]) and (key != _SLOPE or numbers[0] != 0)
        if key in one.elements and not sound:
            raise InputError(
                f"{one.name} has {one.elements[key] or 'nothing'} for its {name}, so its values cannot be HU: export the "
                "series again."
            )
    refuse_other_pixels(Path(one.name), one.elements)


def _refuse_odd_place(name: str | Path, position: str, orientation: str, spacing: str) -> None:
    """Raise InputError unless the three elements are a place, two directions at a right angle, and two lengths."""
    sizes, place, directions = _header_numbers(spacing), _header_numbers(position), _header_numbers(orientation)
    if len(sizes) != 2 or not np.isfinite(sizes).all() or sizes.min() <= 0:
        raise InputError(
            f"{name} does not say how large its pixels are (PixelSpacing {spacing or 'none'}): export the series again."
        )
    if len(place) != 3 or not np.isfinite(place).all():
        raise InputError(
            f"{name} does not say where it lies (ImagePositionPatient {position or 'none'}): export the series again."
        )
    if len(directions) != 6 or not np.abs(_gram(directions) - np.eye(2)).max() <= _LEAST_RIGHT:
        raise InputError(
            f"{name} has an orientation that is no two directions at a right angle ({orientation}): export the series again."
        )


def _refuse_doubled(folder: Path, slices: list[_Slice]) -> None:
    """Raise InputError, naming two of them, where slices lie at one place, as those of two acquisitions or phases do."""
    places: dict[tuple[float, ...], _Slice] = {}
    for one in slices:
        other = places.setdefault(tuple(one.numbers(_POSITION).round(3).tolist()), one)
        if other is not one:
            raise InputError(
                f"{folder} holds doubled slices, as of two acquisitions or phases ({Path(other.name).name} and "
                f"{Path(one.name).name} lie at the same place): copy those of one into a folder of their own."
            )


def _header_numbers(text: str) -> NDArray[np.float64]:
    """The numbers of an element; none where it is empty or no list of numbers."""
    try:
        return _numbers(text)
    except ValueError:
        return np.array([])


def _gram(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products of the directions of rows and columns: 1 and 0 where they are unit vectors at a right angle."""
    directions = orientation.reshape(2, 3)
    products: NDArray[np.float64] = directions @ directions.T
    return products


def _refuse_mixed(folder: Path, slices: list[_Slice], what: str, key: str, tolerance: float) -> None:
    """Raise InputError, naming values and files, unless all slices have the element alike."""
    values = [one.elements.get(key, "") for one in slices]
    usual = Counter(values).most_common(1)[0][0]
    for value, one in zip(values, slices, strict=True):
        if value == usual or (tolerance and value and usual and _close(value, usual, tolerance)):
            continue
        raise InputError(
            f"{folder} holds slices that differ in {what}: {value or 'none'} in {Path(one.name).name}, {usual or 'none'} "
            f"in {values.count(usual)} others: copy those that belong together into a folder of their own."
        )


def _close(value: str, other: str, tolerance: float) -> bool:
    numbers, others = _header_numbers(value), _header_numbers(other)
    return len(numbers) == len(others) > 0 and np.allclose(numbers, others, rtol=0, atol=tolerance)


def _read_frames(shown_path: Path, source: Path, file: _Slice, pixel: int | None) -> sitk.Image:
    """A multi-frame file, its frames put where their own positions say; ``shown_path`` is what a warning calls it."""
    count = int(file.elements.get(_FRAMES, "1") or 1)
    if count < 2:
        raise GeometryError(f"{source} holds a single DICOM slice: give the folder of a whole series.")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            reader = _reader(_readable(file, Path(scratch) / "frames.dcm"))
            if pixel is not None:
                reader.SetOutputPixelType(pixel)
            itk = reader.Execute()
    except RuntimeError as error:
        raise unreadable(source, error) from error
    _check_kind(shown_path, itk, file)
    refuse_other_pixels(source, file.elements, content := Path(file.name).read_bytes())
    content = content[: content.rfind(PIXELS)]
    positions, orientations, spacings, intercepts, slopes = (
        [text for text, _ in _elements(content, key)] for key in (_POSITION, _ORIENTATION, _SPACING, _INTERCEPT, _SLOPE)
    )
    if len(positions) != count or not orientations or not spacings:
        raise GeometryError(f"{source} has frames without position, orientation or pixel size, so it is not a volume.")
    for position in positions:
        _refuse_odd_place(source, position, orientations[0], spacings[0])
    for what, values, tolerance in (
        ("orientation", orientations, 1e-2),
        ("pixel spacing", spacings, 1e-3),
        ("rescale intercept", intercepts, 1e-3),
        ("rescale slope", slopes, 1e-6),
    ):
        # For all frames at once, or for each.
        if len(values) not in (0, 1, count):
            raise InputError(f"{source} tells the {what} of {len(values)} of its {count} frames alone: part them.")
        for value in values:
            if not _close(value, values[0], tolerance):
                raise InputError(f"{source} holds frames that differ in {what} ({values[0]} and {value}): part them.")
    orientation = _numbers(orientations[0])
    places = np.array([_numbers(position) for position in positions])
    stack = stacked(source, places, orientation, _numbers(spacings[0]))
    row, column = orientation.reshape(2, 3)
    volume = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(itk)[stack.order])
    # DICOM names the distance between rows first (PS3.3, 10.7.1.3).
    volume.SetSpacing([*_numbers(spacings[0])[::-1].tolist(), stack.step_mm])
    volume.SetOrigin(places[stack.order[0]].tolist())
    volume.SetDirection(np.column_stack([row, column, np.cross(row, column)]).ravel().tolist())
    return straightened(shown_path, volume, stack, labels=pixel is None)


def _elements(content: bytes, key: str) -> list[tuple[str, int]]:
    """Values of an element of decimal numbers, and where they begin, also within sequences, which SimpleITK does not show.

    For little-endian files, with and without the types of the elements written out (DICOM PS3.5, 7.1).
    """
    group, element = (int(part, 16) for part in key.split("|"))
    tag, found, start = struct.pack("<HH", group, element), [], 0
    while (start := content.find(tag, start)) >= 0:
        start += len(tag)
        explicit = content[start : start + 2] == b"DS"
        length = int.from_bytes(content[start + 2 : start + 4] if explicit else content[start : start + 4], "little")
        value = content[start + 4 : start + 4 + length]
        if _DECIMAL.fullmatch(value):
            text = value.decode("ascii").rstrip(" \0")
            found.append((text, start + 4))
    return found


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(number) for number in text.split("\\")])
