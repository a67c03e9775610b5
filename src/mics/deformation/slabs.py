"""A large grid in slabs, worked on side by side: a native volume at once would take gigabytes, and one core minutes."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import sample
from mics.image.grid import Grid
from mics.threads import side_by_side

Box = tuple[slice, ...]
"""A slice along each axis of a grid."""

_SLAB_VOXELS = 1_000_000


def each_slab(grid: Grid, work: Callable[[slice, Grid], None], *, voxels: int = _SLAB_VOXELS) -> None:
    """Call ``work(part, slab)`` for pieces of ``grid`` along its first axis, as many at a time as torch has threads.

    ``slab`` is the grid of the voxels ``part``, about so many ``voxels``. ``work`` writes its result itself, into the slice it
    is given.
    """
    x, y, z = grid.size
    depth = max(1, voxels // (y * z))

    def call(start: int) -> None:
        part = slice(start, min(start + depth, x))
        i, j, k = grid.voxel_to_world([start, 0, 0]).tolist()
        work(part, dataclasses.replace(grid, size=(part.stop - start, y, z), origin=(i, j, k)))

    side_by_side(call, range(0, x, depth))


def positions(matrix: NDArray[np.floating], size: tuple[int, int, int], box: Box | None = None) -> NDArray[np.float32]:
    """Where ``matrix`` (n + 1, 4) takes each voxel of a grid of ``size``, or of its ``box``, (n, x, y, z)."""
    i, j, k = np.ix_(*_indices(size, box))
    places = np.empty((len(matrix) - 1, *np.broadcast_shapes(i.shape, j.shape, k.shape)), dtype=np.float32)
    for row, (a, b, c, d) in enumerate(matrix[:-1]):
        np.add((a * i + b * j).astype(np.float32), (c * k + d).astype(np.float32), out=places[row])
    return places


def _indices(size: tuple[int, int, int], box: Box | None) -> list[NDArray[np.int64]]:
    """Along each axis, of the voxels of a grid of ``size`` or of its ``box``."""
    return [np.arange(length)[part] for length, part in zip(size, box or (slice(None),) * 3, strict=True)]


def apply_linear(matrix: NDArray[np.float64], channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (3, X, Y, Z) turned and scaled by the linear part of ``matrix`` (4, 4)."""
    mixed = np.empty(channels.shape, dtype=np.float32)
    for row in range(3):
        first, *others = np.flatnonzero(matrix[row, :3])  # most grids are straight: one alone
        np.multiply(channels[first], np.float32(matrix[row, first]), out=mixed[row])
        for column in others:
            mixed[row] += np.float32(matrix[row, column]) * channels[column]
    return mixed


def resampled(
    volume: Tensor, matrix: NDArray[np.floating], size: tuple[int, int, int], box: Box | None = None
) -> NDArray[np.float32]:
    """Values of ``volume`` (1, C, X, Y, Z) where ``matrix`` (4, 4) takes each voxel of a grid of ``size``; (C, x, y, z).

    Of its ``box`` alone where one is given, with the values that the whole has there. Linear, clamped to the volume. Where the
    axes of both grids are parallel, one axis after the other.
    """
    indices = _indices(size, box)
    if min(map(len, indices)) == 0:
        return np.empty((volume.shape[1], *map(len, indices)), dtype=np.float32)
    if np.any(matrix[:3, :3] != np.diag(np.diag(matrix[:3, :3]))):
        return sampled(volume, positions(matrix, size, box))
    places = [
        (matrix[axis, axis] * index + matrix[axis, 3]).clip(0, volume.shape[axis + 2] - 1)
        for axis, index in enumerate(indices)
    ]
    near = [slice(int(own.min()), int(np.ceil(own.max())) + 1) for own in places]
    values = volume[0, :, near[0], near[1], near[2]]
    for axis in (2, 1, 0):  # the last one, of most values, takes whole planes, which are contiguous
        values = _between(values, axis, near[axis].start, places[axis])
    return np.asarray(values.numpy())


def _between(volume: Tensor, axis: int, first: int, places: NDArray[np.float64]) -> Tensor:
    """``volume`` (C, X, Y, Z), which begins with voxel ``first`` of an axis, at ``places`` along it.

    A product and a sum a value, as matrix products are rounded otherwise for other shapes.
    """
    shape = [-1 if n == axis + 1 else 1 for n in range(4)]
    lower, upper = np.floor(places), np.ceil(places)
    parts = []
    for index, weight in ((lower, 1 - (places - lower)), (upper, places - lower)):
        own = volume.index_select(axis + 1, torch.from_numpy((index - first).astype(np.int64)))
        parts.append(own.mul_(torch.from_numpy(weight.astype(np.float32)).reshape(shape)))
    return parts[0].add_(parts[1])


def sampled(volume: Tensor, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of ``volume`` (1, C, X, Y, Z) at voxel positions (3, x, y, z), clamped to it; (C, x, y, z)."""
    values: NDArray[np.float32] = sample(volume, torch.from_numpy(voxels)[None])[0].numpy()
    return values
