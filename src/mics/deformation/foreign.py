"""Fields of vectors that are no displacements in LPS millimetres: other programs' warps, recognised before they move anything.

A field of three values a voxel has one form in every file, whatever the values mean.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError
from mics.image.grid import Grid
from mics.image.nifti import header_of
from mics.image.text_headers import header_fields

# Intents of FSL's warps (nifti1_io.h: NIFTI_FIRST_FSL_INTENT and after): displacements, cubic, DCT and quadratic coefficients.
_FSL_INTENTS = range(2006, 2010)
# What else NIfTI's intents call the values of a vector (nifti1.h), which no program writes for displacements.
_OTHER_INTENTS = {
    1002: "labels",
    1004: "matrices",
    1005: "symmetric matrices",
    1008: "places",
    1009: "triangles",
    1010: "quaternions",
    2001: "values over time",
    2003: "colours",
    2004: "colours",
} | dict.fromkeys(range(2, 25), "a statistic")
# What NiftyReg calls its transforms, whose vectors are RAS, and SPM its deformations, whose vectors are places (RAS).
_NIFTYREG, _SPM = "NREG", "Mapping"
_UNSIGNED = {
    "unsigned char",
    "uchar",
    "uint8",
    "uint8_t",
    "unsigned short",
    "ushort",
    "uint16",
    "uint16_t",
    "met_uchar",
    "met_ushort",
}
_LPS = {"left-posterior-superior", "lps"}
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# By how much the linear part of a field of places may differ from that of the places themselves.
_ALIKE = 0.25
_NEAR_MM = 100.0  # by how much a field of places may move the middle
# The same of places that count voxels: less, as a displacement may grow by one voxel's edge in as many millimetres.
_ALIKE_VOXELS, _NEAR_VOXELS_MM = 0.1, 30.0
_SAMPLES_ALONG_AXIS = 24  # voxels along each axis


def refuse_foreign_field(path: Path) -> None:
    """Raise InputError where a field's header says that its vectors are something else than displacements in LPS millimetres.

    What cannot be read at all is left to :meth:`mics.deformation.transform.Transform.load`, which says why.
    """
    if not path.is_file():
        return
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _refuse_foreign_nifti(path)
    elif path.name.lower().endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        _refuse_foreign_text(path)


def refuse_places(displacement_mm: NDArray[Any], grid: Grid, path: Path) -> None:
    """Raise InputError where the vectors of a field (X, Y, Z, 3) are places and not displacements, as SPM's and NiftyReg's are,
    or count voxels.

    Places change by one millimetre for every millimetre that one goes. A displacement that does so makes the patient twice as
    large or, where places are RAS, flat; so the field's linear part, by least squares, and its mean tell them apart.
    """
    steps = tuple(slice(0, length, max(1, length // _SAMPLES_ALONG_AXIS)) for length in grid.size)
    points = grid.voxel_to_world(np.mgrid[steps].reshape(3, -1).T)
    vectors = np.asarray(displacement_mm[steps], dtype=np.float64).reshape(-1, 3)
    centred = points - points.mean(axis=0)
    linear = np.linalg.lstsq(centred, vectors - vectors.mean(axis=0), rcond=None)[0].T
    for frame, places in (("LPS", np.eye(3)), ("RAS", np.diag([-1.0, -1.0, 1.0]))):
        apart = vectors.mean(axis=0) - places @ points.mean(axis=0)
        if np.abs(linear - places).max() < _ALIKE and np.abs(apart).max() < _NEAR_MM:
            raise GeometryError(
                f"{path} holds places ({frame} mm), not displacements, as SPM and NiftyReg write them: take each voxel's own "
                "place away from its vector, in LPS mm, and save that as a displacement field."
            )
    sought = vectors @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]  # where they lead to, if they count voxels
    growth = grid.matrix[:3, :3] @ linear
    if (
        np.abs(growth - np.eye(3)).max() < _ALIKE_VOXELS
        and np.abs((sought - points).mean(axis=0)).max() < _NEAR_VOXELS_MM
    ):
        raise GeometryError(
            f"{path} holds places counted in voxels, not displacements: take each voxel's own indices away from its vector, turn "
            "that into LPS mm, and save it as a displacement field."
        )


def _refuse_foreign_nifti(path: Path) -> None:
    try:
        header: Any = nibabel.load(path).header
        intent, name = int(header["intent_code"]), bytes(header["intent_name"]).rstrip(b"\0").decode("latin-1")
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        KeyError,
        ValueError,
        zlib.error,
    ):
        return
    if intent in _FSL_INTENTS:
        raise InputError(
            f"{path} is a warp of FSL, whose numbers count in the voxels of both scans: convert it to ITK's form first, "
            "with the two scans at hand."
        )
    if intent in _OTHER_INTENTS:
        raise InputError(
            f"{path} is not a displacement field: its header calls its values {_OTHER_INTENTS[intent]} (intent_code {intent}). "
            "Give the transform's file, or correct the code if they are displacements in LPS mm (1007)."
        )
    if name.startswith((_NIFTYREG, _SPM)):
        program = "NiftyReg" if name.startswith(_NIFTYREG) else "SPM"
        raise InputError(
            f"{path} is a transform of {program} (its header calls it {name}), whose vectors are not displacements in LPS mm: "
            "save it as a displacement field of ITK."
        )
    if header.get_data_dtype().kind == "u" and not _is_scaled(path):
        raise _no_field(path)


def _is_scaled(path: Path) -> bool:
    header = header_of(path)  # nibabel takes the slope out of the header that it loads
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return math.isfinite(slope) and slope != 0 and (slope, intercept) != (1, 0)


def _refuse_foreign_text(path: Path) -> None:
    fields = header_fields(path)
    if fields.get("type", fields.get("elementtype", "")).lower() in _UNSIGNED:
        raise _no_field(path)
    if "dimsize" in fields:
        return
    space = fields.get("space", "").lower()
    if space and space not in _LPS:
        raise GeometryError(
            f"{path} is placed in {space}, and ITK, ANTs and 3D Slicer write displacement fields in left-posterior-superior: "
            "whether its vectors are RAS or LPS is not known. Save it with one of them."
        )
    frame = fields.get("measurement frame")
    if frame is not None and not _is_identity(frame):
        raise GeometryError(
            f"{path} gives its vectors in another frame (measurement frame {frame}), which is not read: save it with ITK, "
            "ANTs or 3D Slicer."
        )


def _is_identity(frame: str) -> bool:
    try:
        numbers = [float(number) for number in frame.translate(str.maketrans("(),", "   ")).split()]
    except ValueError:
        return False
    return len(numbers) == 9 and bool(np.allclose(numbers, _IDENTITY, atol=1e-6))


def _no_field(path: Path) -> InputError:
    return InputError(
        f"{path} is not a displacement field: its values have no sign, as those of colours. Give the transform's file."
    )
