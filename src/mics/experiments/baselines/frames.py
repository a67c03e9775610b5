"""Between our geometry and tools that see voxel arrays with their spacing, or nothing but voxels."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mics.experiments.baselines.baseline_result import Displacement, Matrix
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import resample

_COLUMN = (3, 1, 1, 1)


def affine_displacement(source: Grid, target: Grid, affine: Matrix) -> Displacement:
    """``(3, X, Y, Z)`` from voxels of ``source`` to voxels of ``target``, of an affine between LPS points."""
    return after_prealignment(np.zeros((3, *source.size), np.float32), source, target, affine)


def prealigned(fixed: Image, moving: Image, affine: Matrix) -> Image:
    """The moving scan on the fixed grid by the affine alone; beyond its field of view, its lowest value."""
    return resample(moving, fixed.grid, affine, outside=float(moving.array.min()))


def after_prealignment(displacement: NDArray[np.floating], fixed: Grid, moving: Grid, affine: Matrix) -> Displacement:
    """From voxel x of ``fixed`` to the moving voxel that the affine takes ``x + displacement(x)`` to, less x.

    ``displacement`` ``(3, X, Y, Z)`` in fixed voxels brings the prealigned moving scan onto the fixed one.
    """
    voxels = np.indices(fixed.size, dtype=np.float32)
    matrix = moving.inverse_matrix @ affine @ fixed.matrix
    place = np.tensordot(matrix[:3, :3], voxels + displacement, axes=1) + matrix[:3, 3].reshape(_COLUMN)
    return np.asarray(place - voxels, dtype=np.float32)


def unoriented(affine: Matrix, fixed: Grid, moving: Grid) -> Matrix:
    """The affine between the two arrays' own frames: voxel times spacing."""
    to_world, from_world = fixed.matrix @ scaling(1 / np.array(fixed.spacing)), scaling(moving.spacing)
    return np.asarray(from_world @ moving.inverse_matrix @ affine @ to_world)


def scaling(factors: Sequence[float] | NDArray[np.float64]) -> Matrix:
    """A diagonal map (4, 4)."""
    return np.diag([*factors, 1.0])


def to_itk(volume: Image) -> sitk.Image:
    """The array with its spacing and nothing else of the geometry."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.astype(np.float32).T))
    image.SetSpacing([float(s) for s in volume.grid.spacing])
    return image


def voxels_of(field: sitk.Image, spacing: Sequence[float], matrix: Matrix) -> Displacement:
    """``(3, X, Y, Z)`` to voxels of ``spacing`` from x to ``matrix(x + field(x))``; ``field`` and ``matrix`` in mm."""
    displacement = np.asarray(sitk.GetArrayFromImage(field)).T
    voxels = np.indices(displacement.shape[1:], dtype=np.float32)
    target = np.reshape(field.GetSpacing(), _COLUMN) * voxels + displacement
    moved = np.tensordot(matrix[:3, :3], target, axes=1) + matrix[:3, 3].reshape(_COLUMN)
    return np.asarray(moved / np.reshape(spacing, _COLUMN) - voxels, dtype=np.float32)


def after(matrix: Matrix, displacement: Displacement, inner: Grid, outer: Grid) -> Displacement:
    """From voxel y of ``outer`` to ``z + displacement(z)`` with z = ``matrix(y)`` in voxels of ``inner``, less y."""
    voxels = np.indices(outer.size, dtype=np.float32)
    in_voxels = scaling(1 / np.array(inner.spacing)) @ matrix @ scaling(outer.spacing)
    place = np.tensordot(in_voxels[:3, :3], voxels, axes=1) + in_voxels[:3, 3].reshape(_COLUMN)
    sampled = [ndimage.map_coordinates(component, place, order=1, mode="nearest") for component in displacement]
    return np.asarray(place + np.stack(sampled) - voxels, dtype=np.float32)
