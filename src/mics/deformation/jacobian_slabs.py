"""The Jacobian determinants of a displacement in mm on a large grid, slab by slab: all of them at once would take gigabytes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.jacobian import CACHED_VOXELS, VolumeChange, determinant_between
from mics.deformation.slabs import Box, apply_linear, each_slab
from mics.image.grid import Grid

SlabDisplacement = Callable[[Box], NDArray[np.float32]]
"""Of the voxels in a box, (x, y, z, 3), in LPS mm."""


def each_determinant(displacement: SlabDisplacement, grid: Grid, work: Callable[[slice, Tensor], None]) -> None:
    """Call ``work(part, determinant)`` for pieces of ``grid`` along its first axis.

    ``determinant`` (x, Y, Z) is what :func:`mics.deformation.jacobian.jacobian_determinant` has there of the whole.
    """

    def slab_work(part: slice, slab: Grid) -> None:
        first, stop = max(part.start - 1, 0), min(part.stop + 1, grid.size[0])
        around = np.moveaxis(displacement((slice(first, stop), slice(None), slice(None))), -1, 0)
        voxels = torch.from_numpy(apply_linear(slab.inverse_matrix, np.ascontiguousarray(around)))[None]
        work(part, determinant_between(voxels, part.start - first, part.stop - first)[0])

    each_slab(grid, slab_work, voxels=CACHED_VOXELS)


def volume_change_by_slabs(displacement: SlabDisplacement, grid: Grid) -> VolumeChange:
    """Folds and range of the Jacobian determinant by central differences, of the displacement on all of ``grid``."""
    parts: list[VolumeChange] = []
    each_determinant(displacement, grid, lambda _, determinant: parts.append(VolumeChange.of(determinant)))
    return VolumeChange.together(parts)
