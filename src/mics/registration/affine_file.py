"""An affine computed elsewhere, in a file of another program."""

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
