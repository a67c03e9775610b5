"""A deformation with its affine, evaluated where it is asked for: on a scan's own grid the whole of it takes gigabytes."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.slabs import Box, each_slab, positions, resampled, sampled
from mics.image.grid import Grid

Matrix = NDArray[np.float64]

_BLOCK_VOXELS = 4_000_000
_MAKING = threading.Lock()
"""So that two threads that ask for a whole displacement get the same array."""


@dataclass(frozen=True, eq=False)
class OnDemand:
    """A displacement in mm on a grid of ``size`` voxels: ``source`` interpolated there, and ``straight``, the affine's share.

    ``source``: (1, 3, X, Y, Z) in mm, whose border values go on beyond it. ``to_source`` (4, 4) takes a voxel of the grid to one
    of ``source``, ``straight`` (4, 4) takes it to mm. What a voxel has does not depend on the others that are asked for with it.
    """

    source: Tensor
    to_source: Matrix
    straight: Matrix
    size: tuple[int, int, int]

    def part(self, box: Box, channels: slice = slice(None)) -> NDArray[np.float32]:
        """The displacement of the voxels in ``box``, whose steps are above 0, along the world axes ``channels``.

        (C, x, y, z), in mm.
        """
        values = resampled(self.source[:, channels], self.to_source, self.size, box)
        rows = [*range(3)[channels], 3]
        values += positions(self.straight[rows], self.size, box)
        return values


class InParts(Protocol):
    """A displacement of which parts can be asked for."""

    def part(self, box: Box, channels: slice = slice(None)) -> NDArray[np.float32]:
        """The displacement of the voxels in ``box``, along the world axes ``channels``, (C, x, y, z) in mm."""
        ...


class MadeOnDemand:
    """A displacement on ``grid``, given as an array or :class:`InParts`, of which the whole is made when first asked for."""

    displacement_mm: NDArray[np.float32]
    grid: Grid

    @classmethod
    def on_demand(cls, values: InParts, grid: Grid) -> Self:
        """One that is evaluated where it is asked for.

        Args:
            values: On the voxels of ``grid``.
            grid: The grid that it fills.

        Returns:
            The transform.
        """
        made = object.__new__(cls)
        made.__dict__.update(grid=grid, provenance=None, _on_demand=values)
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Of what an instance lacks: the whole displacement of one that is evaluated on demand."""
            if name != "displacement_mm" or "_on_demand" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            with _MAKING:
                if name not in self.__dict__:
                    self.__dict__[name] = self._whole()
            return self.__dict__[name]

    def part(self, box: Box, channels: slice = slice(None)) -> NDArray[np.float32]:
        """The displacement in a part of the grid, without the whole being made.

        Args:
            box: A slice along each array axis, of steps above 0.
            channels: Of the world axes L, P, S; by default all.

        Returns:
            (x, y, z, C) float32, LPS millimetres; not to be written to.
        """
        if "displacement_mm" in self.__dict__:
            return self.displacement_mm[(*box, channels)]
        values: InParts = self.__dict__["_on_demand"]
        return np.moveaxis(values.part(box, channels), 0, -1)

    def _whole(self) -> NDArray[np.float32]:
        values = np.empty((*self.grid.size, 3), dtype=np.float32)

        def work(planes: slice, _: Grid) -> None:
            values[planes] = self.part((planes, slice(None), slice(None)))

        each_slab(self.grid, work)
        return values


def between_voxels(
    part: Callable[[Box], NDArray[np.float32]], size: tuple[int, int, int], voxels: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Displacements at ``voxels`` (3, N) of a grid of ``size``, linear between its voxels, clamped to it; (3, N) in mm.

    ``part`` gives those of the voxels in a box, (x, y, z, 3); it is asked for a few planes at a time, where any point lies.
    """
    last = np.array(size)[:, None] - 1
    places, found = np.clip(voxels, 0, last), np.empty(voxels.shape, dtype=np.float32)
    blocks = (places[0] // max(1, _BLOCK_VOXELS // math.prod(size[1:]))).astype(np.int64)
    for block in np.unique(blocks):
        own = np.flatnonzero(blocks == block)
        near = places[:, own]
        lower, upper = np.floor(near.min(axis=1)).astype(int), np.ceil(near.max(axis=1)).astype(int) + 1
        box = tuple(slice(a, b) for a, b in zip(lower.tolist(), upper.tolist(), strict=True))
        values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(part(box), -1, 0)))[None]
        inner = (near - lower[:, None]).astype(np.float32)
        found[:, own] = sampled(values, inner[:, :, None, None])[:, :, 0, 0]
    return found
