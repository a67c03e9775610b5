"""What a transform does at each voxel, as volumes: how it changes volume, and how far it moves."""

from dataclasses import replace

import numpy as np

from mics.deformation.jacobian import CACHED_VOXELS, jacobian_determinant
from mics.deformation.slabs import each_slab
from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image


def jacobian_map(transform: Transform) -> Image:
    """The Jacobian determinant of the whole transform, affine included, at each voxel of its grid, float32.

    By central differences between the neighbours (:func:`mics.deformation.jacobian.jacobian_determinant`): 2 where a
    millilitre of the filled (fixed) scan corresponds to two of the other, 0 and below where it folds.
    """
    length = transform.grid.size[0]
    values = np.empty(transform.grid.size, dtype=np.float32)

    def work(part: slice, slab: Grid) -> None:
        first, stop = max(part.start - 1, 0), min(part.stop + 1, length)
        around = Transform(transform.displacement_mm[first:stop], replace(slab, size=(stop - first, *slab.size[1:])))
        determinant = jacobian_determinant(around.displacement_voxels())[0].numpy()
        values[part] = determinant[part.start - first : part.stop - first]

    each_slab(transform.grid, work, voxels=CACHED_VOXELS)
    return Image(values, transform.grid)


def norm_map(transform: Transform) -> Image:
    """The length of the displacement at each voxel of the transform's grid, float32 mm, affine included."""
    return Image(np.linalg.norm(transform.displacement_mm, axis=-1).astype(np.float32), transform.grid)
