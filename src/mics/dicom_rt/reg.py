"""A transform as a deformable spatial registration."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage

from mics.deformation.transform import Transform
from mics.dicom_rt.objects import decimal, new_object, reference, save
from mics.dicom_rt.series import Series


def write_reg(transform: Transform, series: Series, moving: Series, path: Path) -> None:
    """Write the transform that fills the grid of ``series`` from ``moving`` (DICOM PS3.3, C.20.3).

    The standard's vectors lead from a point of the registered frame of reference, that of ``series``, to its place in the
    source one, that of ``moving``: as a Transform's do. float32 LPS mm; no matrix before or after them.
    """
    made = new_object(series, DeformableSpatialRegistrationStorage, "REG", "deformation by MICS")
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "MICS", made.SeriesDescription, ""
    made.ContentDate, made.ContentTime, made.Laterality = made.SeriesDate, made.SeriesTime, ""
    item = Dataset()
    item.SourceFrameOfReferenceUID = moving.frame_of_reference
    item.ReferencedImageSequence = [reference(header) for header in moving.headers]
    item.RegistrationTypeCodeSequence = []
    item.DeformableRegistrationGridSequence = [_vectors(transform)]
    made.DeformableRegistrationSequence = [item]
    made.ReferencedSeriesSequence = [_instances(series)]
    _refer_to(made, series, moving)
    save(made, path)


def _vectors(transform: Transform) -> Dataset:
    grid, item = transform.grid, Dataset()
    axes = np.array(grid.direction).reshape(3, 3)
    item.ImageOrientationPatient = [f"{x:.10f}" for x in (*axes[:, 0], *axes[:, 1])]
    item.ImagePositionPatient = [decimal(x) for x in grid.origin]
    item.GridDimensions, item.GridResolution = list(grid.size), list(grid.spacing)
    # The first axis runs fastest; of each voxel x, y, z.
    item.VectorGridData = np.ascontiguousarray(transform.displacement_mm.transpose(2, 1, 0, 3), "<f4").tobytes()
    return item


def _refer_to(made: Dataset, series: Series, moving: Series) -> None:
    """Name the series that take part, those of the same study apart from those of others (DICOM PS3.3, C.12.2)."""
    if moving.headers[0].StudyInstanceUID == series.headers[0].StudyInstanceUID:
        made.ReferencedSeriesSequence.append(_instances(moving))
        return
    study = Dataset()
    study.StudyInstanceUID = moving.headers[0].StudyInstanceUID
    study.ReferencedSeriesSequence = [_instances(moving)]
    made.StudiesContainingOtherReferencedInstancesSequence = [study]


def _instances(series: Series) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series.uid
    item.ReferencedInstanceSequence = [reference(header) for header in series.headers]
    return item
