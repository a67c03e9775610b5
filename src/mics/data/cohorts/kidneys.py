"""Right and left kidney, where the annotators gave both one label."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.resample import resample

Mask = NDArray[np.bool_]

_COARSE_MM = 4.0
_BODY_HU, _BONE_HU = -300.0, 200.0
_NEAR_MIDLINE_MM = 60.0
# A part of a kidney that reaches over the middle of the spine by less than this share still belongs to that kidney.
_OTHER_SIDE = 0.2


def split_kidneys(kidneys: Mask, image: Image) -> tuple[Mask, Mask]:
    """The right and the left kidney, (X, Y, Z) each, of a mask of both on the grid of the CT ``image``.

    A connected part belongs to the side of the spine on which it lies, in world coordinates, so that the orientation of
    the array does not matter. A part that lies on both sides, as a horseshoe kidney does, is cut at the spine.
    """
    right, left = np.zeros_like(kidneys), np.zeros_like(kidneys)
    if not kidneys.any():
        return right, left
    spine = spine_position(image, kidneys)
    # The parts are numbered in the box around them: a whole scan of numbers would take more memory than the scan.
    around = ndimage.find_objects(kidneys.view(np.uint8))[0]
    parts, _ = ndimage.label(kidneys[around], np.ones((3, 3, 3)))
    for number, within in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[within] == number
        box = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(around, within, strict=True))
        on_right = part & (_leftward(image.grid, box) < spine)
        share = np.count_nonzero(on_right) / np.count_nonzero(part)
        if share > 1 - _OTHER_SIDE:
            on_right = part
        elif share < _OTHER_SIDE:
            on_right = np.zeros_like(part)
        right[box] |= on_right
        left[box] |= part & ~on_right
    return right, left


def spine_position(image: Image, kidneys: Mask) -> float:
    """Where the spine is between the kidneys: LPS millimetres along x, towards the patient's left.

    The median of the bone within 60 mm of the middle of the body, at the heights that the kidneys take up; the middle of
    the body itself if no bone is seen.
    """
    corners = image.grid.corners()
    grid = Grid.axis_aligned(corners.min(axis=0), corners.max(axis=0), _COARSE_MM, "LPS")
    hu = resample(image, grid, outside=AIR_HU).array
    masked = resample(Image(kidneys.astype(np.uint8), image.grid), grid, nearest=True, outside=0).array > 0
    # Thin kidneys may fall between the coarse voxels.
    heights = masked.any(axis=(0, 1)) if masked.any() else np.ones(grid.size[2], dtype=np.bool_)
    x = grid.origin[0] + grid.spacing[0] * np.arange(grid.size[0])
    middle = _median(x, (hu > _BODY_HU)[:, :, heights].sum(axis=(1, 2)), float(x.mean()))
    # Kidneys that take up contrast are as bright as bone.
    bone = (hu > _BONE_HU) & ~ndimage.binary_dilation(masked, iterations=2)
    near = bone[:, :, heights].sum(axis=(1, 2)) * (np.abs(x - middle) < _NEAR_MIDLINE_MM)
    return _median(x, near, middle)


def _median(x: NDArray[np.floating], weights: NDArray[np.integer], otherwise: float) -> float:
    total = np.cumsum(weights)
    return float(x[np.searchsorted(total, total[-1] / 2)]) if total[-1] else otherwise


def _leftward(grid: Grid, box: tuple[slice, ...]) -> NDArray[np.float64]:
    """LPS x of the voxels in a box of the array, in millimetres."""
    a, b, c, d = grid.matrix[0]
    i, j, k = np.ogrid[box]
    return np.asarray(a * i + b * j + c * k + d)
