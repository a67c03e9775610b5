"""A folder of DICOM slices, a zip of one, or a multi-frame file, as one volume."""

import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mics.errors import InputError, MissingFileError, counted
from mics.image.checks import has_known_suffix, refuse_unreadable_name, unreadable
from mics.image.content import is_dicom
from mics.image.dicom_compressed import refuse_broken_compression
from mics.image.dicom_files import FRAMES, check_kind, header, readable, reader, unreadable_dicom
from mics.image.dicom_frames import read_frames
from mics.image.dicom_slices import (
    MODALITY,
    ORIENTATION,
    POSITION,
    SPACING,
    Slice,
    refuse_broken_siblings,
    refuse_interleaved,
    refuse_unlike,
)
from mics.image.slice_stack import SliceStack, correct_stack_tilt, stacked
from mics.image.zipped import unpacked

_DESCRIPTION, _IMAGE_TYPE = "0008|103e", "0008|0008"
_SERIES, _OPTIONS = (
    "0020|000e",
    "`series`, in a registration `fixed_series` or `moving_series`",
)
_ONE_FRAME = ("", "0", "1")
# Degrees; less is below what moves a slice.
_TILT, _LEAST_TILT, _NUMBER = "0018|1120", 1.0, re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
# So many series of one slice each are the slices of one that was written without thought of its UID.
_SINGLE_SLICES = 4
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
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
        slices = [header(name) for name in _chosen(folder, files, series)]
        refuse_broken_siblings(slices, {name for names in files.values() for name in names})
        if len(slices) == 1:
            return read_frames(study, folder, slices[0], pixel)
        _refuse_several_volumes(folder, slices)
        slices, stack = _stack(folder, _without_localisers(study, slices))
        several = sitk.ImageSeriesReader()
        several.SetImageIO("GDCMImageIO")  # which files without preamble do not name
        several.SetSpacingWarningRelThreshold(1.0)  # a step: far less even slices have been refused, in a sentence
        if pixel is not None:
            several.SetOutputPixelType(pixel)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                several.SetFileNames([readable(one, Path(scratch) / f"{n}.dcm") for n, one in enumerate(slices)])
                itk: sitk.Image = several.Execute()
        except RuntimeError as error:
            raise unreadable_dicom(_first_unreadable(folder, slices), error) from error
        except OSError as error:
            raise MissingFileError(f"Cannot read {folder}: {error.strerror}.") from error
        check_kind(study, slices)
        _warn_of_stated_tilt(study, slices, stack)
        return correct_stack_tilt(study, itk, stack, labels=pixel is None)


def _first_unreadable(folder: Path, slices: list[Slice]) -> Path:
    """The first slice of which ITK reads no pixels, the folder if it reads those of each."""
    for one in slices:
        try:
            reader(one.name).Execute()
        except RuntimeError:
            return Path(one.name)
    return folder


def series_uid(study: Path, series: str | None) -> str | None:
    """UID of the series that :func:`read_series` reads; None where it has none, as files without a DICOM header have."""
    with unpacked(study) as folder:
        return header(_chosen(folder, _series(folder), series)[0]).elements.get(_SERIES)


def _series(folder: Path) -> dict[str, list[str]]:
    """The files of each series in a folder and those within it, by its UID; raises InputError if there is none."""
    files: dict[str, list[str]] = {}
    for place, names in _places(folder):
        for name in names:
            refuse_unreadable_name(Path(place, name))
            refuse_broken_compression(Path(place, name))
        for identifier in _identifiers(place, names):
            found = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(place, identifier)
            # GDCM appends what tells series apart to the identifier; the DICOM identifier itself is in the file.
            files.setdefault(header(found[0]).elements.get(_SERIES, identifier), []).extend(found)
    if not files:
        raise MissingFileError(f"{folder} holds no DICOM series{_what_instead(folder)}.")
    return files


def _what_instead(folder: Path) -> str:
    """What a folder without a series holds, as far as it is known, and what to give."""
    for place, names in _places(folder):
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            name = path.relative_to(folder)
            if has_known_suffix(path):
                return f", but {name}: give that file itself"
            if is_dicom(path):
                return f" whose pixels are read (its first DICOM file is {name}): give CT slices with pixels of whole numbers"
            if path.suffix.lower() in _PICTURES:
                return f", but pictures, the first {name}, which do not say where they lie: give the series that they are of"
    return ": give the folder in which the slices are, or a zip of it"


def _places(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and those within it, links to folders too, each once, with the names of its files."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield place, names


def _identifiers(place: str, names: list[str]) -> tuple[str, ...]:
    """What GDCM tells the series of a folder apart by; raises InputError, naming the file, where it gives up on one."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # it would say, with an address, that there is none
    try:
        return sitk.ImageSeriesReader.GetGDCMSeriesIDs(place) if names else ()
    except RuntimeError as error:
        for name in sorted(names):
            if is_dicom(Path(place, name)):
                header(str(Path(place, name)))
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
    scans = {uid: names for uid, names in files.items() if header(names[0]).elements.get(MODALITY) not in _DERIVED}
    if len(candidates := scans or files) == 1:
        return next(iter(candidates.values()))
    if len(candidates) >= _SINGLE_SLICES and all(_is_single_slice(names) for names in candidates.values()):
        raise InputError(
            f"{folder} holds {len(candidates)} slices, each with a SeriesInstanceUID of its own, so nothing says which belong "
            "together: write them again as one series."
        )
    held = "; ".join(_describe(uid, names) for uid, names in candidates.items())
    raise InputError(f"{folder} holds {len(candidates)} DICOM series: {held}. Choose one by its UID: {_OPTIONS}.")


def _is_single_slice(names: list[str]) -> bool:
    """Whether the files of a series are one, of one frame."""
    return len(names) == 1 and header(names[0]).elements.get(FRAMES, "") in _ONE_FRAME


def read_file(path: Path, pixel: int | None) -> sitk.Image:
    """The volume in a multi-frame DICOM file; ``pixel`` as in ``image.io.read_itk``.

    Raises InputError for a file of one slice and as :func:`read_series` does.
    """
    refuse_broken_compression(path)
    return read_frames(path, path, header(str(path)), pixel)


def _describe(uid: str, names: list[str]) -> str:
    """A series as a user knows it: description, number of slices, identifier."""
    description = header(names[0]).elements.get(_DESCRIPTION, "no description")
    return f"'{description}' with {counted(len(names), 'slice')}, first {Path(names[0]).name}, {uid}"


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


def _refuse_several_volumes(folder: Path, slices: list[Slice]) -> None:
    """Raise InputError for multi-frame files in place of slices: each is a volume, or a part of one, of its own."""
    volumes = [one for one in slices if one.elements.get(FRAMES, "") not in _ONE_FRAME]
    if volumes:
        raise InputError(
            f"{folder} holds {len(slices)} files in one series, and several frames in {len(volumes)} of them, the first "
            f"{Path(volumes[0].name).name}: give one such file, or join their frames."
        )


def _warn_of_stated_tilt(study: Path, slices: list[Slice], stack: SliceStack) -> None:
    """Warn where headers tell of a tilted gantry, and the slices lie straight above each other."""
    stated = {one.elements.get(_TILT, "") for one in slices}
    tilts = [float(text) for text in stated if _NUMBER.fullmatch(text)]
    if stack.aside is None and tilts and min(map(abs, tilts)) >= _LEAST_TILT:
        warnings.warn(
            f"{study} was taken with a gantry tilted by {tilts[0]:g} degrees, as its headers say (GantryDetectorTilt), and its "
            "slices lie straight above each other: were they put straight, or are their positions wrong?",
            UserWarning,
            stacklevel=5,
        )


def _stack(folder: Path, slices: list[Slice]) -> tuple[list[Slice], SliceStack]:
    """The slices in the order of their places, and how they lie; raises InputError unless they are one volume, evenly stacked."""
    refuse_unlike(folder, slices)
    positions = np.array([one.numbers(POSITION) for one in slices])
    stack = stacked(folder, positions, slices[0].numbers(ORIENTATION), slices[0].numbers(SPACING))
    ordered = [slices[n] for n in stack.order]
    refuse_interleaved(folder, ordered)
    return ordered, stack
