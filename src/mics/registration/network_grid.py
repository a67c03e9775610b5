"""The grid that the networks see: straight in the half-way space, over what both scans show."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.errors import GeometryError
from mics.image.grid import NETWORK_ORIENTATION, Grid, apply_matrix
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.resample import inside, resample
from mics.registration.pair import Pair

MARGIN_MM = 40.0
"""Around what both scans show."""
_SAMPLES_MM = 2.0
_MIN_VOXELS = 4


def refuse_thin(*, fixed: Grid, moving: Grid, spacing_mm: float) -> None:
    """Raise InputError for a scan that shows too little of the patient for a network with voxels of ``spacing_mm``."""
    least = _MIN_VOXELS * spacing_mm
    for role, grid in (("fixed", fixed), ("moving", moving)):
        extent = float(np.ptp(_bounds(grid.corners()), axis=0).min())
        if extent < least:
            raise GeometryError(
                f"The {role} scan is only {extent:.3g} mm thick ({' x '.join(map(str, grid.size))} voxels of "
                f"{' x '.join(f'{step:.3g}' for step in grid.spacing)} mm), and the model needs {least:.0f} mm: give a scan of "
                "the abdomen."
            )


def network_grid(*, fixed: Grid, moving: Grid, to_scans: Pair[NDArray[np.float64]], spacing_mm: float) -> Grid:
    """Cubic voxels of ``spacing_mm`` over the part of the half-way space that both scans show, and 40 mm around it.

    ``to_scans`` (4, 4) takes LPS points of that space to those of either scan. The margin ends where neither scan has data;
    beyond the grid, a deformation keeps its border value. Extents are even. Raises InputError where the scans do not overlap.
    """
    placed = ((fixed, to_scans.fixed), (moving, to_scans.moving))
    boxes = [_bounds(apply_matrix(np.linalg.inv(matrix), scan.corners())) for scan, matrix in placed]
    lower, upper = np.max([box[0] for box in boxes], axis=0), np.min([box[1] for box in boxes], axis=0)
    shared, least = float((upper - lower).min()), _MIN_VOXELS * spacing_mm
    if shared < least:
        raise GeometryError(
            "The fields of view of the fixed and the moving scan do not overlap"
            + (f" enough ({shared:.0f} mm of {least:.0f} mm that the model needs)" if shared > 0 else "")
            + (" after the affine" if not np.array_equal(to_scans.fixed, to_scans.moving) else "")
            + ': use `affine="organs"`, or an affine file that brings them together.',
            option="affine",
        )
    lower = np.maximum(lower - MARGIN_MM, np.min([box[0] for box in boxes], axis=0))
    upper = np.minimum(upper + MARGIN_MM, np.max([box[1] for box in boxes], axis=0))
    grid = Grid.axis_aligned(lower, upper, spacing_mm, NETWORK_ORIENTATION)
    x, y, z = (length + length % 2 for length in grid.size)
    return dataclasses.replace(grid, size=(x, y, z))


@dataclass(frozen=True, eq=False)
class Samples:
    """A scan sampled about every 2 mm over the voxels of a network's grid, to be averaged: ``hu`` (X, Y, Z) float32.

    Single samples of a scan with finer voxels than the training data's, which are of 2 mm, would carry its noise.
    """

    hu: Tensor
    grid: Grid
    count: int
    """Samples along an edge of a voxel of ``grid``."""

    @classmethod
    def of(cls, image: Image, grid: Grid, matrix: NDArray[np.float64]) -> "Samples":
        """``matrix`` (4, 4) maps points of ``grid`` to those of the scan."""
        count = samples_along(grid)
        sampled = resample(image, divided(grid, count), matrix, outside=AIR_HU)
        return cls(torch.from_numpy(np.ascontiguousarray(sampled.array)), grid, count)

    def downsampled(self, grid: Grid, hu_range: tuple[float, float] | None) -> Tensor | None:
        """HU, (1, 1, X, Y, Z), clipped to ``hu_range`` before the mean, on a ``grid`` with the outermost centres of the own one.

        None where the samples do not fill its voxels, several to an edge or one.
        """
        finer = (grid.size[0] - 1) / max(self.grid.size[0] - 1, 1)
        count = round(self.count / finer)
        margin, rest = divmod(self.count - count, 2)
        inner = self.hu[tuple(slice(margin, length - margin) for length in self.hu.shape)][None, None]
        if count < 1 or margin < 0 or rest or tuple(inner.shape[2:]) != tuple(count * length for length in grid.size):
            return None
        return torch.nn.functional.avg_pool3d(inner if hu_range is None else inner.clamp(*hu_range), count)


def samples_along(grid: Grid) -> int:
    """How many samples along an edge of a voxel of ``grid`` are about 2 mm apart."""
    return max(1, round(grid.spacing[0] / _SAMPLES_MM))


def divided(grid: Grid, count: int) -> Grid:
    """The grid whose voxels are those of ``grid`` divided into ``count`` along each edge."""
    first = (1 / count - 1) / 2
    i, j, k = grid.voxel_to_world([first, first, first]).tolist()
    x, y, z = (count * length for length in grid.size)
    edges = tuple(spacing / count for spacing in grid.spacing)
    return Grid((x, y, z), (edges[0], edges[1], edges[2]), (i, j, k), grid.direction)


def in_view(*, fixed: Grid, moving: Grid, grid: Grid, to_scans: Pair[NDArray[np.float64]]) -> Pair[NDArray[np.bool_]]:
    """Which voxels of the network's grid, (X, Y, Z), lie in either scan's field of view.

    Raises InputError where no voxel lies in both.
    """
    shown = Pair(fixed=inside(fixed, grid, to_scans.fixed), moving=inside(moving, grid, to_scans.moving))
    if not (shown.fixed & shown.moving).any():
        raise GeometryError(
            'The fields of view of the fixed and the moving scan do not overlap: use `affine="organs"`.',
            option="affine",
        )
    return shown


def _bounds(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return points.min(axis=0), points.max(axis=0)
