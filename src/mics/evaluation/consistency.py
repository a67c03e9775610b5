"""How far two transforms are from being inverse to each other."""

import numpy as np
from numpy.typing import NDArray

from mics.deformation.slabs import each_slab
from mics.deformation.transform import Transform
from mics.image.grid import Grid

_ROUNDING = 1e-4
"""Voxels by which float32 may place a point that lies on the border of a grid beyond it."""


def inverse_consistency_mm(forward: Transform, backward: Transform) -> tuple[float, float]:
    """Mean and maximum distance in mm by which a voxel of ``forward.grid`` is missed by ``forward`` and then ``backward``.

    The voxel x goes to ``y = x + forward(x)`` and back to ``y + backward(y)``, ``backward`` interpolated linearly.
    Counted are the voxels whose y lies within ``backward.grid``; NaN if there is none.
    """
    middle = (np.reshape(backward.grid.size, (3, 1, 1, 1)) - 1) / 2
    errors: dict[int, NDArray[np.float32]] = {}

    def work(part: slice, slab: Grid) -> None:
        slab_forward = Transform(forward.part((part, slice(None), slice(None))), slab)
        voxels = slab_forward.sources(backward.grid)
        within = (np.abs(voxels - middle.astype(np.float32)) <= middle + _ROUNDING).all(axis=0)
        residuals = slab_forward.displacement_mm[within] + backward.between_voxels(voxels[:, within]).T
        errors[part.start] = np.linalg.norm(residuals, axis=-1)

    each_slab(forward.grid, work)
    # In the order of the grid, whichever thread ends first, as the last bits of a mean depend on it.
    counted = np.concatenate([errors[start] for start in sorted(errors)])
    return (float(counted.mean(dtype=np.float64)), float(counted.max())) if counted.size else (np.nan, np.nan)
