"""What the affine registration looks at: coarse volumes, and the body in them."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mics.image.grid import Grid
from mics.image.io import Image, from_itk, to_itk
from mics.image.resample import inside, resample
from mics.registration.pair import Pair

# Fat is about -100 HU and lung parenchyma -850; beyond these bounds nothing tells one soft tissue from another.
LOW_HU, HIGH_HU = -200.0, 300.0


@dataclass(frozen=True, eq=False)
class Coarse:
    """A scan on an axis-aligned LPS grid of cubic voxels.

    ``image``: HU clipped to soft tissue. ``in_view``: voxels within the scan's field of view. ``body``: the patient
    without table and air, holes such as the lungs filled.
    """

    image: Image
    in_view: NDArray[np.bool_]
    body: NDArray[np.bool_]


def coarse(image: Image, spacing_mm: float) -> Coarse:
    """A scan of any geometry at ``spacing_mm``, averaged rather than picked where its voxels are finer."""
    factors = [max(1, int(spacing_mm / fine)) for fine in image.grid.spacing]
    factors = [min(factor, length) for factor, length in zip(factors, image.grid.size, strict=True)]
    shrunk = from_itk(sitk.BinShrink(sitk.Clamp(to_itk(image), sitk.sitkFloat32, LOW_HU, HIGH_HU), factors))
    lower, upper = image.grid.corners().min(axis=0), image.grid.corners().max(axis=0)
    # A plane beyond the scan, which would show nothing but air, misleads the search: the grid stays within the scan.
    left_over = (upper - lower) % spacing_mm / 2
    grid = Grid.axis_aligned(lower + left_over, upper - left_over, spacing_mm, "LPS")
    air = float(shrunk.array.min())
    in_view = inside(image.grid, grid)
    volume = resample(shrunk, grid, outside=air)
    return Coarse(volume, in_view, _body(volume.array, air) & in_view)


def in_order(scans: Pair[Image], spacing_mm: float) -> tuple[Pair[Image], Pair[Coarse], bool]:
    """Both scans and what is seen of them, the one with the smaller body as the fixed one; and whether they were exchanged."""
    seen = Pair(fixed=coarse(scans.fixed, spacing_mm), moving=coarse(scans.moving, spacing_mm))
    if _rank(seen.moving) < _rank(seen.fixed):
        return Pair(fixed=scans.moving, moving=scans.fixed), Pair(fixed=seen.moving, moving=seen.fixed), True
    return scans, seen, False


def _rank(scan: Coarse) -> tuple[float, ...]:
    """Voxels of the body, and what tells bodies of one size apart: the sum of their HU, and where they lie."""
    return float(scan.body.sum()), float(scan.image.array[scan.body].sum()), *scan.image.grid.origin


def _body(hu: NDArray[np.float32], air: float) -> NDArray[np.bool_]:
    """The largest connected thing denser than air, its holes in each axial plane filled."""
    # Scans may be clipped above air; the second bound keeps the lungs' outline where they are not.
    dense = ndimage.binary_opening(hu > max(air + 12, LOW_HU + 20))
    parts, count = ndimage.label(dense)
    if count == 0:
        return np.ones(hu.shape, dtype=np.bool_)
    sizes = np.bincount(parts.ravel())[1:]
    body: NDArray[np.bool_] = parts == 1 + int(np.argmax(sizes))
    for k in range(body.shape[2]):
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    return body
