"""An affine computed elsewhere: in a file of another program, or as an array."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, MissingFileError
from mics.files.paths import as_path
from mics.image.checks import refuse_unreadable_name

SUFFIXES = (".tfm", ".txt", ".mat", ".h5")


class _Warnings(sitk.LoggerBase):
    """What ITK would write to the standard error; it says there that it takes the first of several transforms."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:
        self.texts.append(text)

    DisplayErrorText = DisplayWarningText = DisplayGenericOutputText = DisplayDebugText = DisplayText


def read_affine(path: str | Path) -> NDArray[np.float64]:
    """The affine (4, 4) in an ITK or ANTs file (.tfm, .txt, .mat, .h5), in LPS millimetres.

    It maps points of the fixed scan to points of the moving scan, the direction in which ITK and ANTs store the
    transform that resamples the moving image. A composite of linear transforms is multiplied out.

    Raises InputError for a file that is missing, no 3D ITK transform, a list of several, not linear, or not invertible.
    """
    path = as_path(path)
    if not path.exists():
        raise MissingFileError(
            f"There is no affine file {path}: give 'ants', 'none' or a file ({', '.join(SUFFIXES)})."
        )
    refuse_unreadable_name(path)
    warnings = _Warnings()
    before = warnings.SetAsGlobalITKLogger()  # type: ignore[no-untyped-call]
    try:
        transform = sitk.ReadTransform(str(path))
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter where ITK quotes bytes that are no text
        raise InputError(
            f"{path} is not a transform that ITK can read: give the affine as ITK or ANTs write it "
            f"({', '.join(SUFFIXES)})."
        ) from error
    finally:
        before.SetAsGlobalITKLogger()
    if any("more than one transform" in text for text in warnings.texts):
        raise InputError(
            f"{path} holds several transforms, and whether and in which order they belong together is not said: give "
            "one, or a composite transform."
        )
    if transform.GetDimension() != 3:
        raise GeometryError(f"{path} holds a {transform.GetDimension()}D transform: give a 3D one.")
    if not transform.IsLinear():
        raise InputError(f"{path} holds a deformation, not an affine: give the affine part alone.")
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for column, unit in enumerate(np.eye(3).tolist()):
        matrix[:3, column] = np.array(transform.TransformPoint(unit)) - matrix[:3, 3]
    _refuse_singular(matrix, f"The affine in {path}")
    return matrix


def affine_of(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """The affine (4, 4) that an array holds, in LPS millimetres, from points of the fixed scan to points of the moving scan.

    Raises InputError for another shape, for what are no real and finite numbers, for a last row other than 0, 0, 0, 1, and for
    an affine that is not invertible.
    """
    if array.shape != (4, 4) or array.dtype.kind not in "iuf":
        raise InputError(
            f"An affine is an array of 4 x 4 real numbers, not of the shape {array.shape} and the type {array.dtype}."
        )
    matrix = array.astype(np.float64)
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError(
            f"The last row of an affine is 0, 0, 0, 1, not {', '.join(f'{value:g}' for value in matrix[3])}."
        )
    if not np.isfinite(matrix).all():
        raise InputError("The affine holds NaN or infinite values: give finite ones.")
    _refuse_singular(matrix, "The affine")
    return matrix


def _refuse_singular(matrix: NDArray[np.float64], name: str) -> None:
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix[:3, :3]) > 1e4:
        raise GeometryError(f"{name} is not invertible: it squeezes the patient flat.")
