"""DICOM segmentations: masks on planes."""

import warnings
from pathlib import Path

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from pydicom import Dataset
from pydicom.sr.coding import Code

from mics.dicom_rt.objects import (
    CHARACTERS,
    MANUFACTURER,
    MODEL,
    RESEARCH,
    long_string,
    name_of,
    new_uid,
    save,
    software_version,
    take_patient_and_study,
)
from mics.dicom_rt.series import Series, read_object, refused_if_damaged
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError
from mics.image.grid import Grid

_SOURCE = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID"),
    *(
        "PositionReferenceIndicator",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
    ),
    *("Rows", "Columns"),
)
# What any name of a structure may stand for.
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_METHOD = Code("123109", "DCM", "Manual Processing")


def read_seg(path: Path, series: Series | None = None) -> StructureSet:
    """The segments of a DICOM segmentation: binary, fractional (from one half on) or a label map.

    They lie on the grid of ``series``, the one that it was made on; without it, on the segmentation's own planes. Segments
    without a voxel there are left out with a warning.

    Raises InputError if it refers to another series, if its planes are no evenly stacked volume, and if it has no segment or
    none with a voxel.
    """
    content = read_object(path, ("SEG",))
    if series is not None:
        _refuse_other_series(path, content, series)
    with refused_if_damaged(path):
        segmentation = SegmentationObject.from_dataset(content, copy=False)
        numbers = segmentation.segment_numbers
        volumes = [segmentation.get_volume(segment_numbers=[number]) for number in numbers]
        names = [name_of(segmentation.get_segment_description(number).SegmentLabel) for number in numbers]
        grid = _grid(volumes[0].affine, volumes[0].array.shape)
    masks = (volume.array[..., 0].transpose(2, 1, 0) >= 0.5 for volume in volumes)
    structures = StructureSet(grid, tuple(map(Structure, names, masks)))
    structures = structures if series is None else structures.on(series.grid)
    held = tuple(one for one in structures.structures if one.mask.any())
    where = "" if series is None else " of the series"
    if not held:
        raise InputError(f"{path} holds no segment with a voxel{where}: is it the segmentation that you mean?")
    if empty := [one.name for one in structures.structures if not one.mask.any()]:
        warnings.warn(f"{path}: {', '.join(empty)} left out: no voxel{where} is within.", stacklevel=2)
    return StructureSet(structures.grid, held)


def write_seg(structures: StructureSet, series: Series, path: Path) -> None:
    """Write structures on the grid of ``series`` as a binary DICOM segmentation of its slices; they may overlap."""
    masks = np.stack([one.mask.transpose(2, 1, 0) for one in structures.structures], axis=-1)
    made = SegmentationObject(
        source_images=[_source(header) for header in series.headers],
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, one.name) for number, one in enumerate(structures.structures, 1)],
        series_instance_uid=new_uid(),
        series_number=1,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=software_version(),
        device_serial_number="none",
        content_label="MICS",
        content_description=f"{RESEARCH}structures warped by MICS",
        series_description=f"{RESEARCH}structures warped by MICS",
    )
    made.SpecificCharacterSet = CHARACTERS
    save(made, path)


def _refuse_other_series(path: Path, content: Dataset, series: Series) -> None:
    """Raise InputError for a segmentation of another series, or if it names none, of another frame of reference."""
    uids = [str(item.SeriesInstanceUID) for item in content.get("ReferencedSeriesSequence", ())]
    frame = content.get("FrameOfReferenceUID", series.frame_of_reference)
    if uids and series.uid not in uids:
        raise InputError(
            f"{path} was made on the series {' or '.join(uids)}, not on {series.uid}: give the segmentation of that one."
        )
    if frame != series.frame_of_reference:
        raise InputError(
            f"{path} was made in another frame of reference than that of the series {series.uid}: give the segmentation of that "
            "series."
        )


def _grid(affine: np.ndarray, shape: tuple[int, ...]) -> Grid:
    """The grid of planes, rows and columns whose indices ``affine`` (4, 4) takes to LPS mm."""
    axes = affine[:3, 2::-1]
    spacing = np.linalg.norm(axes, axis=0)
    size = shape[2], shape[1], shape[0]
    return Grid(size, (*spacing.tolist(),), (*affine[:3, 3].tolist(),), tuple((axes / spacing).ravel().tolist()))


def _source(header: Dataset) -> Dataset:
    """Of a slice's header what a segmentation needs to know; highdicom would copy more of the patient and the study."""
    source = Dataset()
    source.file_meta = header.file_meta
    take_patient_and_study(header, source)
    for keyword in _SOURCE:
        if keyword in header:
            source[keyword] = header[keyword]
    return source


def _description(number: int, name: str) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=long_string(name),
        segmented_property_category=_ANATOMY,
        segmented_property_type=_ANATOMY,
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence("MICS", _METHOD, software_version()),
    )
