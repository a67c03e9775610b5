"""What a transform does at each voxel, as volumes: how it changes volume, and how far it moves."""

import numpy as np
from torch import Tensor

from mics.deformation.jacobian_slabs import each_determinant
from mics.deformation.transform import Transform
from mics.image.io import Image


def jacobian_map(transform: Transform) -> Image:
    """The Jacobian determinant of the whole transform, affine included, at each voxel of its grid, float32.

    By central differences between the neighbours (:func:`mics.deformation.jacobian.jacobian_determinant`): 2 where a
    millilitre of the filled (fixed) scan corresponds to two of the other, 0 and below where it folds.
    """
    values = np.empty(transform.grid.size, dtype=np.float32)

    def work(part: slice, determinant: Tensor) -> None:
        values[part] = determinant.numpy()

    each_determinant(transform.part, transform.grid, work)
    return Image(values, transform.grid)


def norm_map(transform: Transform) -> Image:
    """The length of the displacement at each voxel of the transform's grid, float32 mm, affine included."""
    return Image(np.linalg.norm(transform.displacement_mm, axis=-1).astype(np.float32), transform.grid)
