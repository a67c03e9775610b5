"""A large grid in slabs, worked on side by side: a native volume at once would take gigabytes, and one core minutes."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import along_axes, sample
from mics.image.grid import Grid

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

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(call, range(0, x, depth)))


def positions(matrix: NDArray[np.floating], size: tuple[int, int, int]) -> NDArray[np.float32]:
    """Where ``matrix`` (4, 4) takes each voxel of a grid of ``size``, (3, X, Y, Z)."""
    i, j, k = np.ogrid[: size[0], : size[1], : size[2]]
    places = np.empty((3, *size), dtype=np.float32)
    for row, (a, b, c, d) in enumerate(matrix[:3]):
        np.add((a * i + b * j).astype(np.float32), (c * k + d).astype(np.float32), out=places[row])
    return places


def apply_linear(matrix: NDArray[np.float64], channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (3, X, Y, Z) turned and scaled by the linear part of ``matrix`` (4, 4)."""
    mixed = np.empty(channels.shape, dtype=np.float32)
    for row in range(3):
        first, *others = np.flatnonzero(matrix[row, :3])  # most grids are straight: one alone
        np.multiply(channels[first], np.float32(matrix[row, first]), out=mixed[row])
        for column in others:
            mixed[row] += np.float32(matrix[row, column]) * channels[column]
    return mixed


def resampled(volume: Tensor, matrix: NDArray[np.floating], size: tuple[int, int, int]) -> NDArray[np.float32]:
    """Values of ``volume`` (1, C, X, Y, Z) where ``matrix`` (4, 4) takes each voxel of a grid of ``size``; (C, x, y, z).

    Linear, clamped to the volume. Where the axes of both grids are parallel, one axis after the other, as matrix products.
    """
    if np.any(matrix[:3, :3] != np.diag(np.diag(matrix[:3, :3]))):
        return sampled(volume, positions(matrix, size))
    weights = (
        _interpolation_matrix(n, matrix[axis, axis] * np.arange(size[axis]) + matrix[axis, 3])
        for axis, n in enumerate(volume.shape[2:])
    )
    values: NDArray[np.float32] = along_axes(volume[0], *weights).numpy()
    return values


def _interpolation_matrix(count: int, places: NDArray[np.float64]) -> Tensor:
    """What each of ``count`` voxels in a row weighs at each of the ``places``, (places, count) float32."""
    distance = np.abs(places.clip(0, count - 1)[:, None] - np.arange(count))
    return torch.from_numpy(np.maximum(0, 1 - distance)).float()


def sampled(volume: Tensor, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of ``volume`` (1, C, X, Y, Z) at voxel positions (3, x, y, z), clamped to it; (C, x, y, z)."""
    values: NDArray[np.float32] = sample(volume, torch.from_numpy(voxels)[None])[0].numpy()
    return values
