"""What ITK reads of one DICOM file, and what of it needs a warning."""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import SimpleITK as sitk

from mics.errors import InputError
from mics.image.checks import unreadable
from mics.image.content import is_dicom
from mics.image.dicom_compressed import is_compressed
from mics.image.dicom_elements import Elements, read_dataset
from mics.image.dicom_slices import MODALITY, Slice, to_numbers

FRAMES = "0028|0008"
"""Number of frames."""

_BETWEEN, _BETWEEN_TAG = "0018|0088", 0x00180088
_RESCALE_TYPE = "0028|1054"
# What ImageType calls projections through many slices (PS3.3, C.7.6.1.1.2, and what vendors write).
_IMAGE_TYPE, _PROJECTIONS = "0008|0008", {"MIP", "MAXIP", "MAX_IP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "VRT", "SSD"}
_LOSSY, _LOSSY_RATIO = "0028|2110", "0028|2112"
_PHOTOMETRIC, _PHOTOMETRIC_TAG = "0028|0004", 0x00280004
_INVERTED, _USUAL = "MONOCHROME1", b"MONOCHROME2"
# Unspecified is what many scanners say of HU (PS3.3, C.11.1.1.2).
_SCALES_OF_HU = ("HU", "HU_MOD", "US", "")


def header(name: str) -> Slice:
    """The elements of text of a file; raises InputError where it cannot be read."""
    shown = reader(name)
    try:
        shown.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable_dicom(Path(name), error) from error
    return Slice(name, {key: shown.GetMetaData(key).strip() for key in shown.GetMetaDataKeys()})


def unreadable_dicom(path: Path, error: RuntimeError) -> InputError:
    """The error for a file of DICOM, or a folder of it, that ITK gives up on."""
    if path.is_file() and is_dicom(path):
        how = ", uncompressed" if is_compressed(path) else ""
        return InputError(f"{path} is DICOM that ITK cannot read: export it again{how}.")
    return unreadable(path, error)


def reader(name: str) -> sitk.ImageFileReader:
    """ITK's reader of one DICOM file."""
    made = sitk.ImageFileReader()
    made.SetImageIO("GDCMImageIO")
    made.SetFileName(name)
    return made


def readable(one: Slice, copy: Path) -> str:
    """The name of a file that ITK reads rightly: a copy where SpacingBetweenSlices is 0, which ITK refuses without need of it,
    or negative, for which SimpleITK before 2.5.7 turns the slices' direction round, and of MONOCHROME1, whose values ITK turns
    upside down though it is about the display alone (DICOM PS3.3, C.7.6.3.1.2).

    Raises InputError where SpacingBetweenSlices is no number, or what ITK misreads is not found in the file.
    """
    between, inverted = one.elements.get(_BETWEEN, ""), one.elements.get(_PHOTOMETRIC) == _INVERTED
    try:
        misread = bool(between) and not 0 < to_numbers(between)[0] < math.inf
    except ValueError as error:
        raise InputError(
            f"{one.name} has {between} for its SpacingBetweenSlices, which is no number: export the series again."
        ) from error
    if not misread and not inverted:
        return one.name
    found = read_dataset(Path(one.name), Path(one.name))
    changes = [] if found is None else list(_misread(found.elements, step=misread, display=inverted))
    if found is None or len({value for _, _, value in changes}) < misread + inverted:
        what = "PhotometricInterpretation MONOCHROME1" if inverted else f"SpacingBetweenSlices {between}"
        raise InputError(
            f"{one.name} has elements that cannot be followed, so what its {what} does to its values or its place cannot be "
            "undone: export the series again."
        )
    content = bytearray(found.content)
    for start, length, value in changes:
        content[start : start + length] = value.ljust(length)
    copy.write_bytes(content)
    return str(copy)


def _misread(elements: Elements, *, step: bool, display: bool) -> Iterator[tuple[int, int, bytes]]:
    """Of the elements that are to be others: where their values begin, how long they are, and what is to stand there."""
    for tag, element in elements.items():
        value = element.value or b""
        if step and tag == _BETWEEN_TAG and value:
            yield element.start, len(value), b"1"
        if display and tag == _PHOTOMETRIC_TAG and element.text == _INVERTED:
            yield element.start, len(value), _USUAL
        for item in element.items:
            yield from _misread(item, step=step, display=False)


def check_kind(source: Path, files: Sequence[Slice], types: Sequence[str] = ()) -> None:
    """Warn of another modality than CT, of values that are no HU, of projections, and of compression with loss.

    ``types``: what is said of the values within sequences (RescaleType).
    """
    modality = files[0].elements.get(MODALITY, "")
    if modality not in ("CT", ""):
        _warn(f"{source} is a series of modality {modality}, not CT.")
    types = [*types, *(one.elements.get(_RESCALE_TYPE, "") for one in files)]
    others = [kind for kind in types if kind not in _SCALES_OF_HU]
    if modality == "CT" and others:
        part = "" if len(others) == len(types) or len(files) == 1 else f", in {len(others)} of its {len(files)} slices"
        _warn(f"{source} holds values of the kind {others[0]}, not HU, as its headers say (RescaleType){part}.")
    words = [set(one.elements.get(_IMAGE_TYPE, "").upper().split("\\")) & _PROJECTIONS for one in files]
    if projected := [sorted(found)[0] for found in words if found]:
        part = "" if len(projected) == len(files) else f", in {len(projected)} of its {len(files)} slices"
        _warn(
            f"{source} holds projections through many slices, not HU of each, as its headers say (ImageType "
            f"{projected[0]}){part}."
        )
    if lossy := [one for one in files if one.elements.get(_LOSSY) == "01"]:
        ratio = lossy[0].elements.get(_LOSSY_RATIO, "").split("\\")[-1]
        extent = f" to 1/{ratio}" if ratio else ""
        _warn(
            f"{source} was compressed with loss{extent}, as its headers say: its HU are near what was scanned, not it."
        )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=6)
