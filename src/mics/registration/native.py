"""From the network's grid back to the scans: one transform per direction, the affine within it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.slabs import each_slab, positions, resampled, turned
from mics.deformation.transform import Transform
from mics.image.grid import Grid


def moving_to_fixed(displacement: Tensor, grid: Grid, fixed: Grid, affine: NDArray[np.float64]) -> Transform:
    """The transform that fills ``fixed`` from the moving scan: x takes its value from A(x + u(x)).

    ``displacement`` (1, 3, X, Y, Z) is u in voxels of the network's ``grid``, which lies in the fixed world; ``affine``
    (4, 4) is A, from fixed to moving LPS points. Beyond ``grid``, u keeps its border value.
    """
    return _on_native(displacement, grid, fixed, to_grid=np.eye(4), from_grid=affine)


def fixed_to_moving(displacement: Tensor, grid: Grid, moving: Grid, affine: NDArray[np.float64]) -> Transform:
    """The transform that fills ``moving`` from the fixed scan: y takes its value from A⁻¹(y) + u(A⁻¹(y))."""
    return _on_native(displacement, grid, moving, to_grid=np.linalg.inv(affine), from_grid=np.eye(4))


def _on_native(
    displacement: Tensor, grid: Grid, native: Grid, *, to_grid: NDArray[np.floating], from_grid: NDArray[np.floating]
) -> Transform:
    """x takes its value from ``from_grid(to_grid(x) + u(to_grid(x)))``."""
    source = torch.from_numpy(turned(from_grid @ grid.matrix, displacement[0].numpy()))[None]
    affine_part = from_grid @ to_grid - np.eye(4)
    result = np.empty((*native.size, 3), dtype=np.float32)

    def work(part: slice, slab: Grid) -> None:
        values = resampled(source, grid.inverse_matrix @ to_grid @ slab.matrix, slab.size)
        values += positions(affine_part @ slab.matrix, slab.size)
        result[part] = np.moveaxis(values, 0, -1)

    each_slab(native, work)
    return Transform(result, native)
