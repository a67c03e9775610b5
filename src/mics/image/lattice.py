"""Two grids over the same voxels: a volume whose axes run otherwise or that is a part, and in what grids differ."""

from collections.abc import Iterable

import numpy as np

from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image


def with_axes_of(image: Image, grid: Grid) -> Image:
    """The same voxels at the same places, with the array's axes in the order and sense in which those of ``grid`` run.

    Nothing is interpolated: axes are exchanged and turned round, as between a DICOM series and a NIfTI file of it.

    Args:
        image: A volume, (X, Y, Z).
        grid: Whose axes are to be followed; where the volume's are oblique to them, as nearly as whole turns can.

    Returns:
        The volume on a grid of its own; the image itself where its axes run so already.
    """
    axes, target = (np.reshape(one.direction, (3, 3)) for one in (image.grid, grid))
    along = target.T @ axes  # (of the target axis, of the volume's)
    order = np.abs(along).argmax(axis=1)
    if len(set(order)) < 3:
        return image
    reversed_axes = along[range(3), order] < 0
    if not reversed_axes.any() and (order == range(3)).all():
        return image
    size, spacing = image.grid.size, image.grid.spacing
    first = np.zeros(3)
    first[order] = np.where(reversed_axes, np.array(size)[order] - 1, 0)
    direction = axes[:, order] * np.where(reversed_axes, -1, 1)
    array = image.array.transpose(order)[tuple(slice(None, None, -1 if reverse else 1) for reverse in reversed_axes)]
    x, y, z = (int(axis) for axis in order)
    left, back, up = (float(mm) for mm in image.grid.voxel_to_world(first))
    own = Grid(
        (size[x], size[y], size[z]),
        (spacing[x], spacing[y], spacing[z]),
        (left, back, up),
        tuple(float(value) for value in direction.ravel()),
    )
    return Image(np.ascontiguousarray(array), own)


def is_part_of(grid: Grid, whole: Grid, tolerance_mm: float = 1e-3) -> bool:
    """Tell whether every voxel of a grid is one of another, whose axes may run otherwise.

    Args:
        grid: Perhaps a part of ``whole``, as a cropped segmentation, or all of it, as a NIfTI file of a DICOM series.
        whole: The other grid.
        tolerance_mm: How far apart a voxel may lie on both, in millimetres.

    Returns:
        Whether no voxel lies further from one of ``whole``, and no two of them at the same.
    """
    steps = whole.inverse_matrix @ grid.matrix
    nearest = np.rint(steps)
    turn = np.abs(nearest[:3, :3])
    if not ((turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all()):
        return False
    last = np.array(grid.size) - 1
    ends = apply_matrix(nearest, np.stack([np.zeros(3), last]))
    if (ends < 0).any() or (ends >= whole.size).any():
        return False
    corners = grid.corners()
    expected = whole.voxel_to_world(apply_matrix(nearest @ grid.inverse_matrix, corners))
    return bool(np.abs(corners - expected).max() <= tolerance_mm)


def difference(grid: Grid, other: Grid) -> str:
    """In what ``grid`` differs from ``other``, in words: the first of size, spacing and place in which it does."""
    if grid.size != other.size:
        return f"{_times(map(str, grid.size))} against {_times(map(str, other.size))} voxels"
    if not np.allclose(grid.spacing, other.spacing, rtol=1e-3, atol=0):
        own, others = (_times(f"{step:.4g}" for step in one.spacing) for one in (grid, other))
        return f"a spacing of {own} against {others} mm"
    apart = np.linalg.norm(grid.corners() - other.corners(), axis=1).max()
    return f"of the same size and spacing, but with voxels that lie up to {apart:.3g} mm elsewhere"


def _times(values: Iterable[str]) -> str:
    return " × ".join(values)
