"""The mean of several maps from one frame: of affines, of displacements, and what they do to volumes."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mics.deformation.field import invert
from mics.deformation.maps import jacobian_map
from mics.deformation.transform import Transform

_MIN_DETERMINANT = 0.01

Matrix = NDArray[np.float64]


def in_mean_frame(affines: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """Affines from one common frame to each member, (4, 4), as affines from the members' mean frame, whose mean is the identity.

    With the mean Ā of all A_k they are A_k Ā⁻¹: the same whichever member the common frame is taken from, where the A_k are
    consistent.
    """
    inverse_mean = np.linalg.inv(np.mean(list(affines.values()), axis=0))
    return {name: matrix @ inverse_mean for name, matrix in affines.items()}


def mean_displacement(transforms: Sequence[Transform]) -> Transform:
    """The mean of the displacements of transforms on one grid."""
    total = np.zeros_like(transforms[0].displacement_mm, dtype=np.float64)
    for transform in transforms:
        total += transform.displacement_mm
    return Transform((total / len(transforms)).astype(np.float32), transforms[0].grid)


def inverse(transform: Transform) -> Transform:
    """The inverse on the same grid (:func:`mics.deformation.field.invert`)."""
    return Transform.from_voxels(invert(transform.displacement_voxels()), transform.grid)


def log_jacobian(transform: Transform) -> NDArray[np.float32]:
    """The natural logarithm of the Jacobian determinant at each voxel, (X, Y, Z); below 0.01, as in folds, that of 0.01."""
    logarithm: NDArray[np.float32] = np.log(np.maximum(jacobian_map(transform).array, _MIN_DETERMINANT))
    return logarithm


def root_mean_square(displacement_mm: NDArray[np.floating]) -> float:
    """Root mean square of the lengths of vectors (…, 3)."""
    return float(np.sqrt(np.mean(np.sum(np.square(displacement_mm, dtype=np.float64), axis=-1))))
