"""What the picture shows of one registration in one plane, computed for that plane alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mics.deformation.jacobian import jacobian_determinant
from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.resample import inside, resample
from mics.report.planes import Plane, three_planes

if TYPE_CHECKING:
    from mics.registration.register import Registration

_TISSUE_HU = -100.0


@dataclass(frozen=True, eq=False)
class Sheets:
    """Pictures (rows, columns) of one plane of the fixed scan; first row on top.

    ``fixed``, ``affine``, ``warped``: HU; the moving scan after the affine alone and after the whole transform, NaN
    where it has no data. ``position_mm`` (rows, columns, 2): where in the moving world each pixel comes from, along the
    picture's horizontal and vertical axis. ``jacobian``: determinant of the whole transform; ``octaves``: its
    :func:`volume_change`. Label maps or None.
    """

    fixed: NDArray[Any]
    affine: NDArray[Any]
    warped: NDArray[Any]
    position_mm: NDArray[Any]
    jacobian: NDArray[Any]
    octaves: NDArray[Any]
    fixed_labels: NDArray[Any] | None
    affine_labels: NDArray[Any] | None
    warped_labels: NDArray[Any] | None


def cut(registration: Registration, plane: Plane) -> Sheets:
    """All pictures of one plane of ``registration``."""
    grid, moving = registration.fixed.grid, registration.moving
    sheet, _ = plane.slab(grid)
    slab, span = plane.slab(grid, margin=1)
    middle = plane.index - span.start

    index = [slice(None)] * 3
    index[plane.axis] = span
    transform = Transform(registration.moving_to_fixed.part(tuple(index)), slab)
    jacobian = jacobian_determinant(transform.displacement_voxels())[0].numpy()
    position = sheet.points() + transform.displacement_mm.take([middle], axis=plane.axis)

    def turned(array: NDArray[Any]) -> NDArray[Any]:
        return plane.turn(array.squeeze(axis=plane.axis))

    def after_affine(image: Image, *, nearest: bool, outside: float) -> NDArray[Any]:
        return turned(resample(image, sheet, registration.affine, nearest=nearest, outside=outside).array)

    affine, warped = (
        after_affine(moving, nearest=False, outside=AIR_HU),
        plane.picture(registration.moving_warped.array),
    )
    labels = registration.moving_labels
    return Sheets(
        fixed=plane.picture(registration.fixed.array),
        affine=np.where(turned(inside(moving.grid, sheet, registration.affine)), affine, np.nan),
        warped=np.where(turned(has_data(moving.grid, position)), warped, np.nan),
        position_mm=turned(position)[..., [plane.horizontal, plane.vertical]],
        jacobian=plane.turn(jacobian.take(middle, axis=plane.axis)),
        octaves=plane.turn(volume_change(jacobian.take(middle, axis=plane.axis), registration.affine)),
        fixed_labels=_picture(plane, registration.fixed_labels),
        affine_labels=None if labels is None else after_affine(labels, nearest=True, outside=0),
        warped_labels=_picture(plane, registration.moving_labels_warped),
    )


def volume_change(determinant: NDArray[Any], affine: NDArray[Any]) -> NDArray[Any]:
    """log2 of a transform's Jacobian determinants without the affine's (4, 4) share: 0 keeps volume; -inf where it folds.

    1 says that what fills a voxel of the fixed scan has twice its volume in the moving scan, once that is as large as the fixed.
    """
    share = np.float32(abs(np.linalg.det(affine[:3, :3])))
    octaves: NDArray[Any] = np.full_like(determinant, -np.inf)
    np.log2(np.maximum(determinant, 0) / share, where=determinant > 0, out=octaves)
    return octaves


def centre_voxel(registration: Registration) -> NDArray[Any]:
    """The fixed scan's voxel (3,) in the middle of its labels, or of the body where the moving scan has data."""
    centre: NDArray[Any] = _voxels_of_interest(registration).mean(axis=0)
    return centre


def shown_planes(registration: Registration) -> tuple[Plane, ...]:
    """Three axial planes, from head to foot, a coronal and a sagittal one, through what :func:`centre_voxel` is the middle of."""
    grid, voxels = registration.fixed.grid, _voxels_of_interest(registration)
    axial, coronal, sagittal = three_planes(grid, voxels.mean(axis=0))
    upper, lower = (three_planes(grid, np.quantile(voxels, share, axis=0))[0] for share in (0.1, 0.9))
    heights = {plane.index: plane for plane in (axial, upper, lower)}
    feet_first = grid.orientation[axial.axis] == "S"
    return (*(heights[index] for index in sorted(heights, reverse=feet_first)), coronal, sagittal)


def _voxels_of_interest(registration: Registration) -> NDArray[Any]:
    """The fixed scan's voxels (N, 3), every fourth, of its labels, or of the body where the moving scan has data."""
    step = 4  # a coarse look is enough to choose a slice
    if registration.fixed_labels is not None:
        chosen = registration.fixed_labels.array[::step, ::step, ::step] > 0
    else:
        coarse = registration.moving_to_fixed.part((slice(None, None, step),) * 3)
        grid = registration.fixed.grid
        voxels = np.stack(np.meshgrid(*[np.arange(0, n, step) for n in grid.size], indexing="ij"), axis=-1)
        chosen = registration.fixed.array[::step, ::step, ::step] > _TISSUE_HU
        chosen &= has_data(registration.moving.grid, grid.voxel_to_world(voxels) + coarse)
    if not chosen.any():
        return (np.array([registration.fixed.grid.size]) - 1) / 2
    return np.argwhere(chosen) * step


def has_data(grid: Grid, points: NDArray[Any]) -> NDArray[Any]:
    """Which LPS points (..., 3) lie in the field of view of a grid, its voxels' full extent."""
    voxels = grid.world_to_voxel(points)
    within: NDArray[Any] = np.all((voxels >= -0.5) & (voxels <= np.array(grid.size) - 0.5), axis=-1)
    return within


def _picture(plane: Plane, image: Image | None) -> NDArray[Any] | None:
    return None if image is None else plane.picture(image.array)
