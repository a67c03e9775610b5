"""How the slices of a volume lie to each other, and those of a tilted gantry put straight.

A gantry's tilt, and a table that moves while the patient is scanned, lay each slice aside of the one before. The planes stay:
every slice is moved within its own.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mics.errors import GeometryError
from mics.image.grid import Grid
from mics.image.hu import AIR_HU

_UNEVEN = 0.1
"""Of a step: so much the planes may be off their even places, by rounding in their headers; of a pixel, slices off a tilt."""
# Cosine of the angle between rows and columns, by rounding in headers; degrees by which a gantry is tilted at most, and a margin.
_RIGHT, _MAX_TILT = 2e-3, 35.0


@dataclass(frozen=True, eq=False)
class SliceStack:
    """The order of slices along their normal, the step between their planes in mm, and how far each slice lies aside of where a
    straight volume would have it, (slices, 3) LPS mm in that order; None where that is less than half a pixel.
    """

    order: NDArray[np.intp]
    step_mm: float
    aside: NDArray[np.float64] | None


def stacked(
    source: Path, positions: NDArray[np.float64], orientation: NDArray[np.float64], pixel: NDArray[np.float64]
) -> SliceStack:
    """How slices lie.

    Args:
        source: what a sentence names.
        positions: (slices, 3) LPS mm, of the slices' first voxels.
        orientation: the six numbers of a row's and a column's direction.
        pixel: its edges in mm.

    Raises:
        GeometryError: unless the planes are evenly stacked, and the slices aside of each other evenly or hardly.
    """
    normal = np.cross(*orientation.reshape(2, 3))
    order = np.argsort(positions @ normal, kind="stable")
    offsets = positions[order] - positions[order[0]]
    height = offsets @ normal
    step, along = float(height[-1]) / (len(order) - 1), np.arange(len(order))
    if step == 0 or np.abs(height - step * along).max() > _UNEVEN * step:
        raise GeometryError(
            f"{source} has missing, doubled or unevenly spaced slices ({_oddest_step(height)}): export the series again, "
            "complete."
        )
    aside = offsets - np.outer(height, normal)
    farthest = np.linalg.norm(aside, axis=1).max()
    if farthest <= min(step, pixel.min()) / 2:
        return SliceStack(order, step, None)
    uneven = np.linalg.norm(aside - np.outer(along / along[-1], aside[-1]), axis=1).max()
    if farthest > step / 2 and uneven > _UNEVEN * pixel.min():
        raise GeometryError(
            f"{source} has slices that lie aside of each other, by up to {farthest:.1f} mm and not evenly, as no tilt of a "
            "gantry has them: export the series again."
        )
    return SliceStack(order, step, aside)


def _oddest_step(heights: NDArray[np.float64]) -> str:
    """Where slices, in the order of their ``heights`` in mm, are farthest from evenly spaced, in words."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    odd = int(np.abs(steps - usual).argmax())
    return (
        f"{steps[odd]:.4g} mm between numbers {odd + 1} and {odd + 2} of {len(heights)}, most are {usual:.4g} mm apart"
    )


@dataclass(frozen=True)
class Tilt:
    """A volume whose slices lie aside of each other, evenly: its array axes, that of the slices last; the straight grid of an
    array in that order, whose first slice is where it is; and how the slices lie.
    """

    axes: tuple[int, int, int]
    grid: Grid
    stack: SliceStack


def tilt_of(matrix: NDArray[np.float64], size: tuple[int, ...]) -> Tilt | None:
    """How a gantry was tilted whose volume has this map (4, 4) from voxel to LPS mm; None where no tilt makes such axes.

    Slices are planes of two axes at a right angle, and the third axis leaves their normal by no more than a gantry is tilted. Of
    several such axes the last one is that of the slices, as files have them.
    """
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    for along in (2, 1, 0):
        one, other = (axis for axis in range(3) if axis != along)
        row, column = matrix[:3, one] / lengths[one], matrix[:3, other] / lengths[other]
        normal = np.cross(row, column)
        height = float(normal @ matrix[:3, along])
        if abs(row @ column) > _RIGHT or abs(height) < np.cos(np.deg2rad(_MAX_TILT)) * lengths[along]:
            continue
        normal *= np.sign(height)
        aside = matrix[:3, along] - abs(height) * normal
        axes = (one, other, along)
        grid = Grid(
            (size[one], size[other], size[along]),
            (float(lengths[one]), float(lengths[other]), abs(height)),
            (*matrix[:3, 3].tolist(),),
            tuple(np.column_stack([row, column, normal]).ravel().tolist()),
        )
        order = np.arange(size[along])
        return Tilt(axes, grid, SliceStack(order, abs(height), np.outer(order, aside)))
    return None


def correct_tilt(source: Path | str, volume: sitk.Image, tilt: Tilt, *, labels: bool) -> sitk.Image:
    """:func:`correct_stack_tilt` for a volume as a file has it, its axes in the order that they have there."""
    last = sitk.PermuteAxes(volume, tilt.axes)
    last.SetSpacing(tilt.grid.spacing)
    last.SetOrigin(tilt.grid.origin)
    last.SetDirection(tilt.grid.direction)
    last = last if labels else sitk.Cast(last, sitk.sitkFloat32)
    back = [tilt.axes.index(axis) for axis in range(3)]
    as_before: sitk.Image = sitk.PermuteAxes(correct_stack_tilt(source, last, tilt.stack, labels=labels), back)
    return as_before


def correct_stack_tilt(source: Path | str, volume: sitk.Image, stack: SliceStack, *, labels: bool) -> sitk.Image:
    """The volume on the smallest straight grid that holds all slices, with a warning where it was none.

    Args:
        source: what the warning names.
        volume: the slices in the order of ``stack``, with the first one's origin, the pixels' spacing, and a direction whose
            third axis is the planes' normal.
        stack: how they lie.
        labels: whether values name things: then the nearest pixel's is taken, where HU are interpolated linearly.

    Returns:
        The volume; what no slice shows has -1000 HU, of labels 0.
    """
    if stack.aside is None:
        return volume
    height, farthest = stack.step_mm * (len(stack.aside) - 1), np.linalg.norm(stack.aside, axis=1).max()
    warnings.warn(
        f"{source} has slices that lie aside of each other, by up to {farthest:.1f} mm over {height:.0f} mm, as with a gantry "
        f"tilted by {np.degrees(np.arctan2(farthest, height)):.1f} degrees: they were put straight, each moved within its plane.",
        UserWarning,
        stacklevel=5,
    )
    axes = np.array(volume.GetDirection()).reshape(3, 3)
    spacing = np.array(volume.GetSpacing()[:2])
    # In pixels, along rows and columns; rounded, so that no border falls out of view by a hair.
    shifts = np.round(stack.aside @ axes[:, :2] / spacing, 4)
    first = np.floor(shifts.min(axis=0)).astype(int)
    width, length = np.array(volume.GetSize()[:2]) + np.ceil(shifts.max(axis=0)).astype(int) - first
    slices = sitk.GetArrayFromImage(volume)
    nothing = 0 if labels else AIR_HU
    straight = np.full((len(slices), length, width), nothing, dtype=slices.dtype)
    for one, filled, shift in zip(slices, straight, shifts - first, strict=True):
        # A pixel that is filled looks so far back in the slice; arrays have the columns' direction first.
        ndimage.affine_transform(
            one,
            np.eye(2),
            -shift[::-1],
            output=filled,
            order=0 if labels else 1,
            cval=nothing,
            output_shape=filled.shape,
        )
    result = sitk.GetImageFromArray(straight)
    result.SetSpacing([*spacing.tolist(), stack.step_mm])
    result.SetDirection(volume.GetDirection())
    result.SetOrigin((np.array(volume.GetOrigin()) + axes[:, :2] @ (first * spacing)).tolist())
    return result
