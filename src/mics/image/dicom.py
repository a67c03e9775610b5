"""A folder of DICOM slices, a zip of one, or a multi-frame file, as one volume."""

import os
import re
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mics.errors import GeometryError, InputError, MissingFileError
from mics.image.checks import refuse_unreadable_name, unreadable
from mics.image.dicom_pixels import PIXELS, refuse_other_pixels
from mics.image.dicom_slices import (
    INTERCEPT,
    MODALITY,
    ORIENTATION,
    POSITION,
    SLOPE,
    SPACING,
    Slice,
    is_close,
    refuse_broken_siblings,
    refuse_interleaved,
    refuse_odd_place,
    refuse_unlike,
    to_numbers,
)
from mics.image.slice_stack import SliceStack, stacked, straightened
from mics.image.zipped import unpacked

_DESCRIPTION, _IMAGE_TYPE, _FRAMES = "0008|103e", "0008|0008", "0028|0008"
_SERIES, _OPTIONS = (
    "0020|000e",
    "`series`, in a registration `fixed_series` or `moving_series`",
)
_BETWEEN = "0018|0088"
_RESCALE_TYPE = "0028|1054"
_LOSSY, _LOSSY_RATIO = "0028|2110", "0028|2112"
_PHOTOMETRIC, _ROWS, _COLUMNS = "0028|0004", "0028|0010", "0028|0011"
_DECIMAL = re.compile(rb"[-+.0-9eE\\ ]+\0?")
# Unspecified is what many scanners say of HU (PS3.3, C.11.1.1.2).
_SCALES_OF_HU = ("HU", "HU_MOD", "US", "")
# Objects made for a scan, some of which have frames as a scan has.
_DERIVED = ("RTDOSE", "RTSTRUCT", "RTPLAN", "SEG", "REG", "PR", "KO", "SR")


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
        files = _series(folder)
        slices = [_header(name) for name in _chosen(folder, files, series)]
        refuse_broken_siblings(slices, {name for names in files.values() for name in names})
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
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # it would say, with an address, that there is none
    try:
        return sitk.ImageSeriesReader.GetGDCMSeriesIDs(place) if names else ()
    except RuntimeError as error:
        for name in sorted(names):
            if b"DICM" in Path(place, name).read_bytes()[:132]:
                _header(str(Path(place, name)))
        raise unreadable(Path(place), error) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _chosen(folder: Path, files: dict[str, list[str]], series: str | None) -> list[str]:
    """The files of the series with that UID, of the only one if it is None; raises InputError, with a list, otherwise."""
    if series is not None:
        if series.strip() in files:
            return files[series.strip()]
        held = "; ".join(_describe(uid, names) for uid, names in files.items())
        raise MissingFileError(f"{folder} holds no DICOM series {series}; it holds {held}.")
    scans = {uid: names for uid, names in files.items() if _header(names[0]).elements.get(MODALITY) not in _DERIVED}
    if len(candidates := scans or files) == 1:
        return next(iter(candidates.values()))
    held = "; ".join(_describe(uid, names) for uid, names in candidates.items())
    raise InputError(f"{folder} holds {len(candidates)} DICOM series: {held}. Choose one by its UID: {_OPTIONS}.")


def _readable(one: Slice, copy: Path) -> str:
    """The name of a file that ITK reads rightly: a copy where SpacingBetweenSlices is 0, which ITK refuses without need of it,
    or negative, for which SimpleITK before 2.5.7 turns the slices' direction round, and of MONOCHROME1, whose values ITK turns
    upside down though it is about the display alone (DICOM PS3.3, C.7.6.3.1.2).
    """
    between, inverted = one.elements.get(_BETWEEN, ""), one.elements.get(_PHOTOMETRIC) == "MONOCHROME1"
    misread = bool(between) and to_numbers(between)[0] <= 0
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


def _header(name: str) -> Slice:
    reader = _reader(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(Path(name), error) from error
    return Slice(name, {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()})


def _reader(name: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(name)
    return reader


def _describe(uid: str, names: list[str]) -> str:
    """A series as a person knows it: description, number of slices, identifier."""
    description = _header(names[0]).elements.get(_DESCRIPTION, "no description")
    return f"'{description}' with {len(names)} slices, first {Path(names[0]).name}, {uid}"


def _check_kind(source: Path, itk: sitk.Image, first: Slice) -> None:
    """Raise InputError for colour; warn of another modality than CT, and of compression with loss."""
    if itk.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{source} holds colour pictures, not a CT series.")
    modality = first.elements.get(MODALITY, "")
    if modality not in ("CT", ""):
        warnings.warn(f"{source} is a series of modality {modality}, not CT.", UserWarning, stacklevel=5)
    if modality == "CT" and (kind := first.elements.get(_RESCALE_TYPE, "")) not in _SCALES_OF_HU:
        warnings.warn(
            f"{source} holds values of the kind {kind}, not HU, as its headers say (RescaleType).",
            UserWarning,
            stacklevel=5,
        )
    if first.elements.get(_LOSSY) == "01":
        ratio = first.elements.get(_LOSSY_RATIO, "").split("\\")[-1]
        extent = f" to 1/{ratio}" if ratio else ""
        warnings.warn(
            f"{source} was compressed with loss{extent}, as its headers say: its HU are near what was scanned, not it.",
            UserWarning,
            stacklevel=5,
        )


def _without_localisers(study: Path, slices: list[Slice]) -> list[Slice]:
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


def _stack(folder: Path, slices: list[Slice]) -> tuple[list[Slice], SliceStack]:
    """The slices in the order of their places, and how they lie; raises InputError unless they are one volume, evenly stacked."""
    refuse_unlike(folder, slices)
    positions = np.array([one.numbers(POSITION) for one in slices])
    stack = stacked(folder, positions, slices[0].numbers(ORIENTATION), slices[0].numbers(SPACING))
    ordered = [slices[n] for n in stack.order]
    refuse_interleaved(folder, ordered)
    return ordered, stack


def _read_frames(shown_path: Path, source: Path, file: Slice, pixel: int | None) -> sitk.Image:
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
        [text for text, _ in _elements(content, key)] for key in (POSITION, ORIENTATION, SPACING, INTERCEPT, SLOPE)
    )
    if len(positions) != count or not orientations or not spacings:
        raise GeometryError(f"{source} has frames without position, orientation or pixel size, so it is not a volume.")
    for position in positions:
        refuse_odd_place(source, position, orientations[0], spacings[0])
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
            if not is_close(value, values[0], tolerance):
                raise InputError(f"{source} holds frames that differ in {what} ({values[0]} and {value}): part them.")
    orientation = to_numbers(orientations[0])
    places = np.array([to_numbers(position) for position in positions])
    stack = stacked(source, places, orientation, to_numbers(spacings[0]))
    row, column = orientation.reshape(2, 3)
    volume = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(itk)[stack.order])
    # DICOM names the distance between rows first (PS3.3, 10.7.1.3).
    volume.SetSpacing([*to_numbers(spacings[0])[::-1].tolist(), stack.step_mm])
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
