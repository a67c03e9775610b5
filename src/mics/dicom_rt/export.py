"""A finished registration as DICOM objects of the fixed study."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mics.deformation.provenance import KnownScan
from mics.deformation.suitability import check_scan, require_in_view
from mics.deformation.transform import Transform
from mics.dicom_rt.ct import write_ct
from mics.dicom_rt.reg import write_reg
from mics.dicom_rt.rtdose import NOT_ACCUMULATED, read_dose, write_dose
from mics.dicom_rt.rtstruct import write_rtstruct
from mics.dicom_rt.seg import write_seg
from mics.dicom_rt.series import Series
from mics.dicom_rt.structure_file import read_structures
from mics.dicom_rt.structures import StructureSet
from mics.errors import InputError
from mics.files.folder import write_together
from mics.image.grid import Grid
from mics.image.io import Image, read_image, read_labels
from mics.image.resample import resample
from mics.run_summary import read_summary

_TRANSFORM, _SCAN, _LABELS = "transform_moving_to_fixed.nii.gz", "moving_warped.nii.gz", "moving_labels_warped.nii.gz"
_SUMMARY = "summary.json"
_TOLERANCE_MM = 0.1


def export(
    results: Path,
    fixed: Series,
    output: Path,
    *,
    moving: Series | None = None,
    structures: Path | None = None,
    dose: Path | None = None,
) -> list[str]:
    """Write what `mics register` left in ``results`` as DICOM objects for ``fixed``, into the folder ``output``.

    Args:
        results: the folder of a finished registration whose fixed scan is ``fixed``.
        fixed: the series whose patient, study and frame of reference the objects get.
        output: an empty folder; all files come into it or none.
        moving: the moving scan's series, where that is DICOM: with it, the transform is written too.
        structures: an RT structure set or segmentation of the moving scan; by default the warped labels in ``results``.
        dose: an RTDOSE of the moving scan.

    Returns the names of what was written: CT, a folder, and of RTSTRUCT.dcm, SEG.dcm, RTDOSE.dcm, REG.dcm those that there is
    something for.

    Raises InputError for a folder that is not finished or of another fixed scan, and for files that are not of the moving one.
    """
    transform = _transform(results, fixed)
    _check_moving(transform, results, fixed=fixed, moving=moving)
    writers: dict[str, Callable[[Path], object]] = {
        "CT": partial(write_ct, _like(read_image(results / _SCAN), fixed.grid), fixed)
    }
    if (warped := _structures(results, transform, moving, structures)) is not None:
        writers["RTSTRUCT.dcm"] = partial(write_rtstruct, warped, fixed)
        writers["SEG.dcm"] = partial(write_seg, warped, fixed)
    if dose is not None:
        given = read_dose(dose)
        require_in_view(given.image.grid, transform, dose, _TRANSFORM)
        _refuse_other_frame(dose, str(given.header.get("FrameOfReferenceUID", "")), moving)
        writers["RTDOSE.dcm"] = partial(write_dose, given.warped(transform), given.header, fixed)
        warnings.warn(NOT_ACCUMULATED, stacklevel=2)
    if moving is not None:
        writers["REG.dcm"] = partial(write_reg, transform, fixed, moving)
    write_together(output, writers)
    return list(writers)


def _transform(results: Path, fixed: Series) -> Transform:
    """The transform of a finished registration, on the grid of ``fixed``, which must be its fixed scan."""
    for name in (_SUMMARY, _TRANSFORM, _SCAN):
        if not (results / name).is_file():
            raise InputError(
                f"{results} is not the folder of a finished registration, it lacks {name}: give one of `mics register`."
            )
    transform = Transform.load(results / _TRANSFORM)
    known = transform.provenance
    if not _same_voxels(transform.grid, fixed.grid) or _differs(None if known is None else known.scans["fixed"], fixed):
        raise InputError(
            f"{results} was not made with the series {fixed.uid} as the fixed scan: give the series that was."
        )
    return transform if transform.grid.is_close(fixed.grid) else transform.resampled(fixed.grid)


def _check_moving(transform: Transform, results: Path, *, fixed: Series, moving: Series | None) -> None:
    """Raise InputError where ``moving`` is known to be another scan than the moving one; warn of another patient."""
    if moving is None:
        return
    known = transform.provenance
    if known is not None:
        scan = known.scans["moving"]
        if not _same_voxels(scan.grid, moving.grid) or _differs(scan, moving):
            raise InputError(
                f"{results} was not made with the series {moving.uid} as the moving scan: give the series that was."
            )
    if moving.headers[0].get("PatientID") != fixed.headers[0].get("PatientID"):
        warnings.warn(
            "The moving scan is of another patient ID than the fixed one, under which all objects are filed: the warped scan, "
            "structures and dose show another patient's anatomy in the fixed one's shape.",
            stacklevel=3,
        )


def _differs(scan: KnownScan | None, series: Series) -> bool:
    """Whether a series has the voxels of a remembered scan in the same order, but other values."""
    return scan is not None and scan.grid.is_close(series.grid) and not scan.is_scan(series.scan)


def _same_voxels(first: Grid, second: Grid) -> bool:
    """Whether the voxels of two grids have the same places, in whatever order: NIfTI files often turn axes around."""
    apart = np.linalg.norm(first.corners()[:, None] - second.corners()[None], axis=-1)
    return sorted(first.size) == sorted(second.size) and bool(apart.min(axis=1).max() < _TOLERANCE_MM)


def _like(image: Image, grid: Grid) -> Image:
    """The same voxels in the order of ``grid``."""
    return image if image.grid.is_close(grid) else resample(image, grid, nearest=True, outside=0)


def _structures(
    results: Path, transform: Transform, moving: Series | None, structures: Path | None
) -> StructureSet | None:
    """The structures of the moving scan on the fixed grid: those of a file, else those that were warped already, else none."""
    if structures is not None:
        given = read_structures(structures, moving)
        if transform.provenance is not None:
            first = Image(given.structures[0].mask.astype(np.uint8), given.grid)
            check_scan(first, transform.provenance, structures, _TRANSFORM)
        require_in_view(given.grid, transform, structures, _TRANSFORM)
        return given.warped(transform)
    if not (results / _LABELS).is_file():
        return None
    names = {int(label): name for label, name in read_summary(results / _SUMMARY).label_names.items()}
    labels = _like(read_labels(results / _LABELS), transform.grid)
    return StructureSet.of_labels(labels, names) if labels.array.any() else None


def _refuse_other_frame(path: Path, frame: str, moving: Series | None) -> None:
    """Raise InputError for a dose that is known to lie in another frame of reference than the moving scan."""
    if moving is not None and frame and frame != moving.frame_of_reference:
        raise InputError(
            f"{path} is not in the frame of reference of the moving series {moving.uid}: give a dose that is."
        )
