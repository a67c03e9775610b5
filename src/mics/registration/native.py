"""From the network's grid back to the scans: one transform per direction, the affine within it."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import identity, warp
from mics.deformation.transform import Transform
from mics.image.grid import Grid

# Voxels worked on at a time: a native volume has forty million.
_SLAB_VOXELS = 4_000_000


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
    millimetres = Transform.from_voxels(displacement, grid).displacement_mm @ from_grid[:3, :3].T
    source = torch.from_numpy(np.ascontiguousarray(np.moveaxis(millimetres.astype(np.float32), -1, 0)))[None]
    affine_part = from_grid @ to_grid - np.eye(4)
    result = np.empty((*native.size, 3), dtype=np.float32)
    depth = max(1, _SLAB_VOXELS // (native.size[1] * native.size[2]))
    for start in range(0, native.size[0], depth):
        slab = _slab(native, start, min(start + depth, native.size[0]))
        position = _places(grid.inverse_matrix @ to_grid @ slab.matrix, slab.size)
        sampled = warp(source, position - identity(slab.size)) + _places(affine_part @ slab.matrix, slab.size)
        result[start : start + depth] = np.moveaxis(sampled[0].numpy(), 0, -1)
    return Transform(result, native)


def _places(matrix: NDArray[np.floating], size: tuple[int, int, int]) -> Tensor:
    """Where ``matrix`` (4, 4) takes each voxel of an array of ``size``, (1, 3, X, Y, Z)."""
    i, j, k = np.ogrid[: size[0], : size[1], : size[2]]
    rows = [(a * i + b * j).astype(np.float32) + (c * k + d).astype(np.float32) for a, b, c, d in matrix[:3]]
    return torch.from_numpy(np.stack(rows))[None]


def _slab(grid: Grid, start: int, stop: int) -> Grid:
    i, j, k = grid.voxel_to_world([start, 0, 0]).tolist()
    return dataclasses.replace(grid, size=(stop - start, *grid.size[1:]), origin=(i, j, k))
