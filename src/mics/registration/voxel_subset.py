"""Some voxels of a grid, a box of them or any, where the rest of it has nothing to say."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class VoxelBox:
    """Part of a grid: the first voxel and the one after the last along each axis."""

    bounds: tuple[tuple[int, int], ...]
    indices: Tensor
    """Its voxels' in the grid, ``(1, 3, X, Y, Z)``."""

    def of(self, volume: Tensor) -> Tensor:
        """That part of ``(B, C, X, Y, Z)``."""
        x, y, z = (slice(first, end) for first, end in self.bounds)
        return volume[:, :, x, y, z]


@dataclass(frozen=True, eq=False)
class VoxelSubset:
    """Some voxels of a grid: their places in the flattened grid ``(N,)``, and their indices ``(1, 3, N, 1, 1)`` in voxels."""

    places: Tensor
    indices: Tensor

    @classmethod
    def where(cls, chosen: Tensor) -> "VoxelSubset":
        """The voxels at which ``(X, Y, Z)`` is true."""
        indices = chosen.nonzero().T.float()
        return cls(chosen.flatten().nonzero().flatten(), indices[None, ..., None, None])

    def of(self, volume: Tensor) -> Tensor:
        """The voxels of ``(B, C, X, Y, Z)``, ``(B, C, N, 1, 1)``."""
        return volume.flatten(2).index_select(2, self.places)[..., None, None]
