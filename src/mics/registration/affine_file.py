"""An affine computed elsewhere: in a file of another program, or as an array."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.deformation.itk_transform import matrix_of, read_itk_transform, refuse_singular
from mics.errors import InputError, MissingFileError
from mics.files.paths import as_path
from mics.image.checks import refuse_unreadable_name

SUFFIXES = (".tfm", ".txt", ".mat", ".h5")


def read_affine(path: str | Path) -> NDArray[np.float64]:
    """The affine in a file of ITK or ANTs. A composite of linear transforms is multiplied out.

    Args:
        path: The file: .tfm, .txt, .mat or .h5.

    Returns:
        (4, 4), from LPS millimetres of the fixed scan to those of the moving one, the direction in which ITK and ANTs store
        the transform that resamples the moving image.

    Raises:
        InputError: For a file that is missing, no 3D ITK transform, a list of several, not linear, or not invertible.
    """
    path = as_path(path)
    if not path.exists():
        raise MissingFileError(
            f"There is no affine file {path}: give 'organs', 'ants', 'none' or a file ({', '.join(SUFFIXES)})."
        )
    refuse_unreadable_name(path)
    transform = read_itk_transform(path)
    if not transform.IsLinear():
        raise InputError(f"{path} holds a deformation, not an affine: give the affine part alone.")
    matrix = matrix_of(transform)
    refuse_singular(matrix, f"The affine in {path}")
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
    refuse_singular(matrix, "The affine")
    return matrix
