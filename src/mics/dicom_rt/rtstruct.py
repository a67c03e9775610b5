"""RT structure sets: contours on the slices of a series."""

import itertools
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from mics.dicom_rt.contours import filled, outlines
from mics.dicom_rt.objects import decimal, long_string, name_of, new_object, reference, save
from mics.dicom_rt.series import Series, ct_series, read_object, refused_if_damaged, series_of
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError, counted
from mics.image.grid import Grid

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Of the smaller of two contours' pixels, and pixels: if so much lies within both, and so much of each alone, they cross.
_CROSSING, _CROSSING_PIXELS = 0.05, 4
# On so many slices or more, none of them next to each other, a structure was contoured with slices left out.
_CONTOURED_SLICES = 3
# Of a slice: contours further from a plane, or less flat, are not of this series.
_FLAT, _OFF_PLANE = 0.1, 0.25
# A folder and two levels within it, in which a study's series lie: more may be all patients of an archive.
_LEVELS = 3
_COLOURS = ((230, 60, 60), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230))

Array = NDArray[np.float64]


def read_rtstruct(path: Path, series: Series | None = None) -> StructureSet:
    """The structures of an RT structure set as masks on the grid of the series that it refers to.

    ``series``: that series; by default it is looked for in the folder of ``path``, in those within it, and in those beside it
    with the folders within these: two levels of folders either way.
    Several contours on a slice are taken by XOR, so that inner ones are holes; one that stands there twice counts once, with a
    warning. Points and open contours have no inside: left out with a warning, like structures without contours and those that
    enclose the centre of no voxel. Warns of contours that cross, of slices left out between those that are contoured, and of
    structures that name another frame of reference.

    Raises InputError if the series is another one or not found, for contours that do not lie on its slices, or are to be
    shifted, and if no structure has an inside.
    """
    content = read_object(path, ("RTSTRUCT",))
    with refused_if_damaged(path):
        series = _referenced_series(path, content) if series is None else series
        _refuse_other_series(path, content, series)
        _warn_of_other_frames(path, content, series)
        drawn = _drawn(path, content)
        structures = [Structure(name, _mask(path, name, contours, series.grid)) for name, contours in drawn if contours]
    if without := [name for name, contours in drawn if not contours]:
        warnings.warn(f"{path}: {', '.join(without)} without closed contours left out.", stacklevel=2)
    if empty := [one.name for one in structures if not one.mask.any()]:
        warnings.warn(
            f"{path}: {', '.join(empty)} left out: no voxel of the series has its centre within. Are the contours beside the "
            "slices, or smaller than a voxel?",
            stacklevel=2,
        )
    if gaps := [one.name for one in structures if _leaves_slices_out(one.mask)]:
        warnings.warn(
            f"{path}: {', '.join(gaps)} has contours on every second slice or fewer: the slices between stay empty. Let the "
            "program that drew them interpolate.",
            stacklevel=2,
        )
    if len(structures) == len(empty):
        raise InputError(
            f"{path} holds no structure with closed contours around voxels of the series: export it again with its contours."
        )
    return StructureSet(series.grid, tuple(one for one in structures if one.mask.any()))


def write_rtstruct(structures: StructureSet, series: Series, path: Path) -> None:
    """Write structures on the grid of ``series`` as an RT structure set that refers to its slices.

    Contours run half-way between voxels within and without; holes are keyholes (:func:`mics.dicom_rt.contours.outlines`).
    """
    made = new_object(series, RTStructureSetStorage, "RTSTRUCT", "structures warped by MICS")
    made.StructureSetLabel, made.StructureSetName = "MICS", made.SeriesDescription
    made.StructureSetDate, made.StructureSetTime = made.SeriesDate, made.SeriesTime
    made.OperatorsName, made.ApprovalStatus = "", "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_referenced_frame(series)]
    numbered = list(enumerate(structures.structures, 1))
    made.StructureSetROISequence = [_roi(number, one.name, series) for number, one in numbered]
    made.ROIContourSequence = [_roi_contours(number, one.mask, series) for number, one in numbered]
    made.RTROIObservationsSequence = [_observation(number) for number, _ in numbered]
    save(made, path)


def _referenced_series(path: Path, content: Dataset) -> Series:
    """The series that a structure set was drawn on, in its folder, in folders within that one, or in folders beside it."""
    uids, folder = _referenced_uids(content), path.absolute().parent
    if not uids:
        raise InputError(
            f"{path} does not name the series that it was drawn on: make a label map of it by mics convert, whose `scan` is the "
            "folder of that series."
        )
    places = [(folder, levels) for levels in range(_LEVELS)] + [(folder.parent, levels) for levels in range(1, _LEVELS)]
    for place, levels in places:
        found = ct_series(place.glob("*/" * levels + "*"))
        for uid in uids:
            if uid in found:
                return series_of(found[uid])
    raise InputError(
        f"{path} refers to the series {' or '.join(uids)}, which is neither in its folder nor in one beside it: "
        "put its slices there, or make a label map of it by mics convert, whose `scan` is their folder, wherever it lies."
    )


def _refuse_other_series(path: Path, content: Dataset, series: Series) -> None:
    """Raise InputError unless the structure set refers to ``series``, or names none and is in its frame of reference."""
    uids = _referenced_uids(content)
    items = [(item, "FrameOfReferenceUID") for item in content.get("ReferencedFrameOfReferenceSequence", ())]
    items += [(item, "ReferencedFrameOfReferenceUID") for item in content.get("StructureSetROISequence", ())]
    frames = {str(item.get(keyword, "")) for item, keyword in items} - {""}
    if uids and series.uid not in uids:
        raise InputError(
            f"{path} was drawn on the series {' or '.join(uids)}, not on {series.uid}: give the structures of that one."
        )
    if frames and series.frame_of_reference not in frames:
        raise InputError(
            f"{path} was drawn in another frame of reference than that of the series {series.uid}: give the structures of that "
            "series."
        )


def _warn_of_other_frames(path: Path, content: Dataset, series: Series) -> None:
    """Warn of structures that say for themselves that they were drawn in another frame of reference than the series'."""
    rois = content.get("StructureSetROISequence", ())
    stated = [(roi, str(roi.get("ReferencedFrameOfReferenceUID", ""))) for roi in rois]
    if others := [_name(roi) for roi, frame in stated if frame and frame != series.frame_of_reference]:
        warnings.warn(
            f"{path}: {', '.join(others)} names another frame of reference than that of the series: does it lie where it "
            "belongs?",
            stacklevel=3,
        )


def _referenced_uids(content: Dataset) -> list[str]:
    """The series that a structure set says it was drawn on."""
    return [
        str(series.SeriesInstanceUID)
        for frame in content.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for series in study.get("RTReferencedSeriesSequence", ())
    ]


def _drawn(path: Path, content: Dataset) -> list[tuple[str, list[Array]]]:
    """The names of all structures, and their closed contours, each once: LPS points (N, 3)."""
    items: dict[int, list[Dataset]] = {}
    for item in content.get("ROIContourSequence", ()):
        items.setdefault(int(item.ReferencedROINumber), []).append(item)
    drawn = []
    for roi in content.get("StructureSetROISequence", ()):
        name = _name(roi)
        contours = [
            points for item in items.get(int(roi.ROINumber), ()) for points in _closed_contours(path, name, item)
        ]
        once = list({contour.tobytes(): contour for contour in contours}.values())
        if twice := len(contours) - len(once):
            warnings.warn(f"{path}: {name} has {twice} of its contours twice: each counts once.", stacklevel=3)
        drawn.append((name, once))
    return drawn


def _name(roi: Dataset) -> str:
    """What a structure is called, by its number where it has no name."""
    return name_of(roi.get("ROIName")) or f"ROI {roi.ROINumber}"


def _closed_contours(path: Path, name: str, item: Dataset) -> list[Array]:
    """LPS points (N, 3) of the contours that enclose something; raises InputError for those that are to be shifted."""
    contours = item.get("ContourSequence", ())
    if any(float(step) for contour in contours for step in contour.get("ContourOffsetVector") or ()):
        raise InputError(
            f"{path}: contours of {name} are to be shifted (ContourOffsetVector), which is not read: export it again."
        )
    points = [
        np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        for contour in contours
        if contour.ContourGeometricType in _CLOSED
    ]
    return [contour for contour in points if len(contour) > 2]


def _mask(path: Path, name: str, contours: list[Array], grid: Grid) -> NDArray[np.bool_]:
    mask = np.zeros(grid.size, dtype=np.bool_)
    on_slices: dict[int, list[Array]] = {}
    for contour in contours:
        voxels = grid.world_to_voxel(contour)
        heights = voxels[:, 2]
        number = int(np.rint(heights.mean()))
        if np.ptp(heights) > _FLAT or abs(heights.mean() - number) > _OFF_PLANE or not 0 <= number < grid.size[2]:
            raise InputError(
                f"{path}: a contour of {name} lies on no slice of the series (around {heights.mean():.2f} of {grid.size[2]}, "
                f"{np.ptp(heights):.2f} high): contour it on the slices of the series."
            )
        on_slices.setdefault(number, []).append(voxels[:, :2])
    crossing = 0
    for number, flat in on_slices.items():
        inside = [filled([contour], grid.size[:2]) for contour in flat]
        mask[:, :, number] = np.logical_xor.reduce(inside)
        crossing += any(_cross(one, other) for one, other in itertools.combinations(inside, 2))
    if crossing:
        warnings.warn(
            f"{path}: contours of {name} cross each other on {counted(crossing, 'slice')}: what lies within two of them counts "
            "as outside, as a hole does.",
            stacklevel=4,
        )
    return mask


def _cross(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether two contours, by the pixels (X, Y) within them, overlap and neither lies within the other."""
    both = one & other
    if not both.any():
        return False
    counts = np.count_nonzero(both), np.count_nonzero(one & ~other), np.count_nonzero(other & ~one)
    smaller = counts[0] + min(counts[1:])
    return bool(min(counts) >= max(_CROSSING_PIXELS, _CROSSING * smaller))


def _leaves_slices_out(mask: NDArray[np.bool_]) -> bool:
    """Whether a structure lies on several slices, and on no two that are next to each other."""
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    return len(slices) >= _CONTOURED_SLICES and int(np.diff(slices).min()) > 1


def _referenced_frame(series: Series) -> Dataset:
    frame, study, referenced = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = series.uid
    referenced.ContourImageSequence = [reference(header) for header in series.headers]
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as PS3.3 C.8.8.5.4 has it
    study.ReferencedSOPInstanceUID = series.headers[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [referenced]
    frame.FrameOfReferenceUID = series.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(number: int, name: str, series: Series) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = number, long_string(name)
    roi.ReferencedFrameOfReferenceUID = series.frame_of_reference
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    roi.ROIGenerationDescription = "Warped by MICS, research"
    return roi


def _roi_contours(number: int, mask: NDArray[np.bool_], series: Series) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(_COLOURS[(number - 1) % len(_COLOURS)])
    item.ContourSequence = [
        _contour(line, k, series) for k in np.flatnonzero(mask.any(axis=(0, 1))) for line in outlines(mask[:, :, k])
    ]
    return item


def _contour(line: Array, k: int, series: Series) -> Dataset:
    contour = Dataset()
    points = series.grid.voxel_to_world(np.column_stack([line, np.full(len(line), k)]))
    contour.ContourImageSequence = [reference(series.headers[k])]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(line)
    contour.ContourData = [decimal(value) for value in points.ravel()]
    return contour


def _observation(number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    return observation
