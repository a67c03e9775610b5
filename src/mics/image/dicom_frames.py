"""A multi-frame DICOM file as one volume, its frames put where their own positions say."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError
from mics.image.dicom_elements import Dataset, Elements, read_dataset, within
from mics.image.dicom_files import FRAMES, check_kind, readable, reader, unreadable_dicom
from mics.image.dicom_pixels import has_bits_beyond, warn_of_bits_beyond
from mics.image.dicom_slices import Slice, are_interleaved, is_close, refuse_invalid_geometry, to_numbers
from mics.image.slice_stack import correct_stack_tilt, stacked

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
# A group of elements for each frame or for all, and the element in it that is meant.
_POSITION, _ORIENTATION = (0x00209113, 0x00200032), (0x00209116, 0x00200037)
_SPACING, _INTERCEPT, _SLOPE = (0x00289110, 0x00280030), (0x00289145, 0x00281052), (0x00289145, 0x00281053)
_RESCALE_TYPE = (0x00289145, 0x00281054)
# DICOM's whole numbers in text have no more (PS3.5, 6.2).
_MAX_DIGITS = 12
# What frames of one volume have in common: their stack, their phase and their acquisition.
_CONTENT = 0x00209111
_PART_OF = (0x00209162, 0x00209163)
_PARTS = (
    ("stacks (StackID", 0x00209056),
    ("phases (TemporalPositionIndex", 0x00209128),
    ("acquisitions (FrameAcquisitionNumber", 0x00209156),
)


def read_frames(shown_path: Path, source: Path, file: Slice, pixel: int | None) -> sitk.Image:
    """The volume of a file's frames.

    Args:
        shown_path: what a warning calls the file.
        source: what an error calls it.
        file: its name, and its elements of text.
        pixel: as in ``image.io.read_itk``.

    Raises InputError for a file of one slice, for frames without a place, of several scales, sizes or phases, and for those that
    are not evenly stacked.
    """
    stated = file.elements.get(FRAMES) or "1"
    if not stated.isdecimal() or len(stated) > _MAX_DIGITS:
        raise InputError(f"{source} has {stated[:50]} for its NumberOfFrames, which is no count: export it again.")
    count = int(stated)
    if count < 2:
        raise GeometryError(f"{source} holds a single DICOM slice: give the folder of a whole series.")
    found = read_dataset(Path(file.name), source)
    if found is None:
        raise InputError(f"{source} has elements that cannot be followed, so it is damaged: export it again.")
    if has_bits_beyond(source, file.elements, found):
        warn_of_bits_beyond(shown_path, file.elements)
    _warn_of_part(shown_path, found)
    groups = _groups(found, count)
    # Before ITK, which reads no file whose frames lie in several directions.
    places, orientation, spacing = _geometry(source, groups, count)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            one = reader(readable(file, Path(scratch) / "frames.dcm"))
            if pixel is not None:
                one.SetOutputPixelType(pixel)
            itk = one.Execute()
    except RuntimeError as error:
        raise unreadable_dicom(source, error) from error
    types = {text for texts in _texts(groups, _RESCALE_TYPE) for text in texts}
    check_kind(shown_path, [file], sorted(types))
    stack = stacked(source, places, orientation, spacing)
    _refuse_interleaved(source, found, [groups[0][n] for n in stack.order])
    row, column = orientation.reshape(2, 3)
    volume = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(itk)[stack.order])
    # DICOM names the distance between rows first (PS3.3, 10.7.1.3).
    volume.SetSpacing([*spacing[::-1].tolist(), stack.step_mm])
    volume.SetOrigin(places[stack.order[0]].tolist())
    volume.SetDirection(np.column_stack([row, column, np.cross(row, column)]).ravel().tolist())
    return correct_stack_tilt(shown_path, volume, stack, labels=pixel is None)


Array = NDArray[np.float64]
_Groups = tuple[list[Elements], list[Elements], list[Elements]]


def _warn_of_part(shown: Path, found: Dataset) -> None:
    """Warn of a file that is one of several into which a volume was divided (PS3.3, C.7.6.16.2.2.4)."""
    number, total = (element and found.number(element) for element in map(found.elements.get, _PART_OF))
    if number and total != 1:
        warnings.warn(
            f"{shown} is part {number} of {total or 'several'} of a concatenation (InConcatenationNumber), so the scan may go on "
            "in another file: join the parts, if it does.",
            UserWarning,
            stacklevel=5,
        )


def _groups(found: Dataset, count: int) -> _Groups:
    """The functional groups of each frame, those of all frames, and the elements beside both."""
    frames = found.elements.get(_PER_FRAME)
    shared = found.elements.get(_SHARED)
    each = list(frames.items) if frames is not None else []
    return each + [{}] * (count - len(each)), list(shared.items) if shared is not None else [], [found.elements]


def _texts(groups: _Groups, path: tuple[int, int]) -> tuple[list[str], list[str]]:
    """What frames say of themselves, each that does, and what is said of all: by their groups, or beside them.

    Empty elements say nothing.
    """
    each, shared, beside = groups
    own = [within(frame, *path) for frame in each]
    common = [within(elements, *path) for elements in shared] + [elements.get(path[1]) for elements in beside]
    return [one.text for one in own if one and one.text], [one.text for one in common if one and one.text]


def _geometry(source: Path, groups: _Groups, count: int) -> tuple[Array, Array, Array]:
    """Positions (frames, 3) LPS mm, orientation (6,) and pixel spacing (2,); raises InputError where they are no volume's."""
    positions, _ = _texts(groups, _POSITION)
    orientations, spacings = (
        _of_all(source, groups, count, "orientation", _ORIENTATION, 1e-2),
        _of_all(source, groups, count, "pixel spacing", _SPACING, 1e-3),
    )
    if len(positions) != count or not orientations or not spacings:
        raise GeometryError(f"{source} has frames without position, orientation or pixel size, so it is not a volume.")
    for position in positions:
        refuse_invalid_geometry(source, position, orientations[0], spacings[0])
    _of_all(source, groups, count, "rescale intercept", _INTERCEPT, 1e-3)
    _of_all(source, groups, count, "rescale slope", _SLOPE, 1e-6)
    places = np.array([to_numbers(position) for position in positions])
    return places, to_numbers(orientations[0]), to_numbers(spacings[0])


def _of_all(
    source: Path, groups: _Groups, count: int, what: str, path: tuple[int, int], tolerance: float
) -> Sequence[str]:
    """What is said of each frame or of all; raises InputError where it is said of some alone, or not the same of all."""
    own, common = _texts(groups, path)
    if len(own) not in (0, count) and not common:
        raise InputError(f"{source} tells the {what} of {len(own)} of its {count} frames alone: part them.")
    values = own + common
    for value in values:
        if not is_close(value, values[0], tolerance):
            raise InputError(f"{source} holds frames that differ in {what} ({values[0]} and {value}): part them.")
    return values


def _refuse_interleaved(source: Path, found: Dataset, frames: Sequence[Elements]) -> None:
    """Raise InputError where ``frames``, in the order of their places, are in turns of two stacks, phases or acquisitions."""
    for what, tag in _PARTS:
        elements = [within(frame, _CONTENT, tag) for frame in frames]
        text = what.startswith("stacks")
        values = ["" if one is None else one.text if text else str(found.number(one)) for one in elements]
        if are_interleaved(values):
            raise InputError(
                f"{source} holds frames of several {what} {', '.join(sorted(set(values)))}) that lie between each other: part "
                "them."
            )
