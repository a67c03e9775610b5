"""Bring a volume onto another grid, by one interpolation."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from mics.image.grid import Grid
from mics.image.io import Image, from_itk, to_itk


def resample(
    image: Image, grid: Grid, matrix: ArrayLike | None = None, *, nearest: bool = False, outside: float
) -> Image:
    """``image`` on ``grid``, linear or, for labels, nearest neighbour; the type of its values stays.

    ``matrix`` (4, 4) maps LPS points of ``grid`` to LPS points of ``image`` (ITK's direction of resampling); none is
    the identity. Voxels beyond the image's field of view, which ends half a voxel outside its outermost voxel centres,
    get ``outside``.
    """
    moved = sitk.Resample(
        to_itk(image),
        grid.size,
        itk_affine(np.eye(4) if matrix is None else np.asarray(matrix, dtype=np.float64)),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        grid.origin,
        grid.spacing,
        grid.direction,
        outside,
    )
    return Image(from_itk(moved).array, grid)


def itk_affine(matrix: NDArray[np.float64]) -> sitk.AffineTransform:
    """ITK's transform of points by ``matrix`` (4, 4)."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def inside(image_grid: Grid, grid: Grid, matrix: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Which voxels of ``grid``, (X, Y, Z), lie in ``image_grid``'s field of view; ``matrix`` as in :func:`resample`."""
    affine = np.eye(4) if matrix is None else np.asarray(matrix, dtype=np.float64)
    voxel = image_grid.inverse_matrix @ affine @ grid.matrix
    within = np.ones(grid.size, dtype=np.bool_)
    i, j, k = np.ogrid[: grid.size[0], : grid.size[1], : grid.size[2]]
    for (a, b, c, d), length in zip(voxel[:3], image_grid.size, strict=True):
        position = (a * i + b * j).astype(np.float32) + (c * k + d).astype(np.float32)
        # Half a voxel, less what float32 rounds: a voxel centre on the very face is within, on both sides.
        within &= np.abs(position - np.float32((length - 1) / 2)) <= length / 2 + 1e-4
    return within
