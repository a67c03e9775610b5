"""RT doses: a grid of gray."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import RTDoseStorage

from mics.deformation.transform import Transform
from mics.dicom_rt.objects import decimal, new_object, put_pixels, put_plane, save
from mics.dicom_rt.series import Series, read_object, refused_if_damaged
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image

NOT_ACCUMULATED = (
    "The dose is warped, not accumulated: each point has the dose of the place in the moving scan that it is matched with. "
    "Energy and mass are not followed where tissue changes its volume, so do not add it to another dose."
)
"""What a warped dose is."""
# Of the step between planes.
_UNEVEN = 0.01
# Cosine of the angle between the patient's z and the normal of planes whose offsets are places along z.
_ALONG_Z = 0.999
_MAX_STORED = np.iinfo(np.uint16).max
# What a dose says of itself that stays true of it when it is warped.
_KEPT = ("DoseUnits", "DoseType", "DoseSummationType", "TissueHeterogeneityCorrection")


@dataclass(frozen=True)
class Dose:
    """``image``: the dose, float32, in the units that ``header``, that of its file, names: GY or RELATIVE."""

    image: Image
    header: Dataset

    def warped(self, transform: Transform) -> Image:
        """The dose over the field of view that ``transform`` fills, at its own spacing, by one interpolation; outside, 0."""
        across = np.array(transform.grid.size) * transform.grid.spacing
        step = np.array(self.image.grid.spacing)
        x, y, z = np.maximum(np.rint(across / step), 2).astype(int).tolist()
        first = transform.grid.voxel_to_world((step / transform.grid.spacing - 1) / 2)  # both begin at the same faces
        grid = Grid((x, y, z), (*step.tolist(),), (*first.tolist(),), transform.grid.direction)
        return transform.transform_image(self.image, outside=0.0, grid=grid)


def read_dose(path: Path) -> Dose:
    """The dose in an RTDOSE file: stored values times Dose Grid Scaling, its planes where their offsets say.

    Raises InputError for a file of another kind, a difference of doses (Dose Type ERROR), a single plane, planes that are
    unevenly spaced, and values that are no doses.
    """
    content = read_object(path, ("RTDOSE",))
    with refused_if_damaged(path):
        if content.get("DoseType") == "ERROR":
            raise InputError(f"{path} holds differences of doses, not a dose: give the dose itself.")
        if int(content.get("NumberOfFrames", 1)) < 2:
            raise InputError(f"{path} holds a single plane of dose: export the dose as a volume.")
        scaling = float(content.DoseGridScaling)
        if not 0 < scaling < np.inf:
            raise InputError(f"{path} has {content.DoseGridScaling} for its DoseGridScaling: export the dose again.")
        if (high := content.HighBit) != content.BitsStored - 1:
            raise InputError(
                f"{path} has its bits not in the lowest place of a pixel (HighBit {high}): export the dose again."
            )
        values = content.pixel_array.transpose(2, 1, 0) * scaling
        grid = _grid(path, content)
        if values.min() < 0:
            raise InputError(f"{path} holds doses below 0, down to {values.min():.3g}: export the dose again.")
        return Dose(Image(values.astype(np.float32), grid), content)


def write_dose(dose: Image, source: Dataset, series: Series, path: Path) -> None:
    """Write a dose, of the units and type that ``source``, the header of the original, names, for ``series``.

    Values are stored to 1/65535 of the largest. ``dose`` is on a grid whose axes run like those of the series.
    """
    made = new_object(series, RTDoseStorage, "RTDOSE", "dose warped by MICS, not accumulated")
    made.DoseComment = "Warped by MICS, not accumulated: research"
    made.OperatorsName, made.SliceThickness = "", decimal(dose.grid.spacing[2])
    for keyword in _KEPT:
        if keyword in source:
            made[keyword] = source[keyword]
    if "ReferencedRTPlanSequence" in source:  # its items may hold more, private elements too
        made.ReferencedRTPlanSequence = [_plan(item) for item in source.ReferencedRTPlanSequence]
    put_plane(made, dose.grid)
    made.NumberOfFrames, made.FrameIncrementPointer = dose.grid.size[2], 0x3004000C
    made.GridFrameOffsetVector = [decimal(dose.grid.spacing[2] * k) for k in range(dose.grid.size[2])]
    scaling = float(f"{max(float(dose.array.max()), 1e-6) / _MAX_STORED:.9e}")
    made.DoseGridScaling = f"{scaling:.9e}"
    put_pixels(made, np.clip(np.rint(dose.array / scaling), 0, _MAX_STORED).astype(np.uint16))
    save(made, path)


def _plan(item: Dataset) -> Dataset:
    """The plan that an item refers to, and nothing else of the item."""
    plan = Dataset()
    for keyword in ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"):
        setattr(plan, keyword, item.get(keyword, ""))
    return plan


def _grid(path: Path, content: Dataset) -> Grid:
    """Where the voxels of a dose are (DICOM PS3.3, C.8.8.3.2): offsets begin at 0, or are places along the patient's z.

    Raises InputError for uneven offsets, and for those that are neither.
    """
    row, column = np.array(content.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    first = np.array(content.ImagePositionPatient, dtype=np.float64)
    offsets = np.array(content.GridFrameOffsetVector, dtype=np.float64)
    steps = np.diff(offsets)
    if len(offsets) != int(content.NumberOfFrames) or not steps[0] or np.ptp(steps) > _UNEVEN * abs(steps[0]):
        raise InputError(f"{path} has unevenly spaced planes of dose: export it again on an even grid.")
    along = np.asarray(np.cross(row, column), dtype=np.float64)
    if offsets[0] != 0:
        if abs(offsets[0] - first[2]) > _UNEVEN * abs(steps[0]) or abs(along[2]) < _ALONG_Z:
            raise InputError(
                f"{path} does not say clearly where its planes are (GridFrameOffsetVector begins with {offsets[0]:g}, which is "
                f"neither 0 nor the z of a transverse ImagePositionPatient, {first[2]:g}): export the dose again."
            )
        along = np.array([0.0, 0.0, 1.0])
        first[2] = offsets[0]
    axes = np.column_stack([row, column, along * np.sign(steps[0])])
    size = int(content.Columns), int(content.Rows), len(offsets)
    between, across = map(float, content.PixelSpacing)
    return Grid(size, (across, between, abs(float(steps.mean()))), (*first.tolist(),), tuple(axes.ravel().tolist()))
