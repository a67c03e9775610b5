"""A transform as small as a tolerance allows: on a coarser grid, or in coarser numbers, in the form that every tool reads."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.slabs import Box, each_slab
from mics.deformation.transform import Transform
from mics.errors import SettingError, shown
from mics.image.grid import Grid

TOLERANCE_MM = 0.05
"""A sixteenth of the voxel edge of a fine abdominal CT."""

_UNITS_MM = tuple(2.0**-n for n in range(9))
"""Powers of two, as other numbers have no fewer digits in the file; the last is what the files keep of any transform."""
_ROUNDING_SHARE = 0.6
"""Of the tolerance, at most for the rounding of numbers."""


@dataclass(frozen=True, eq=False)
class Compact:
    """``transform``, brought onto the original's grid, misses it by at most ``largest_error_mm`` at any voxel."""

    transform: Transform
    largest_error_mm: float


def compacted(transform: Transform, tolerance_mm: float, lattice: Transform | None = None) -> Compact:
    """The smallest form of ``transform`` at hand that stays within ``tolerance_mm`` of it at every voxel; every one is looked at.

    Args:
        transform: on the grid of the scan that it fills.
        tolerance_mm: length of the error vector, at least 1/128 mm.
        lattice: the same on a grid that may be coarser (:func:`on_own_lattice`).

    Returns:
        ``lattice`` in coarser numbers, where that is smaller and good enough, else ``transform`` in coarser numbers; with the
        provenance of ``transform``.

    Raises:
        InputError: for another tolerance.
    """
    refuse_tolerance(tolerance_mm)
    # A vector is off by half a unit along each axis at most.
    fitting = [unit for unit in _UNITS_MM if unit * np.sqrt(3) / 2 <= _ROUNDING_SHARE * tolerance_mm]
    unit = fitting[0] if fitting else _UNITS_MM[-1]
    if lattice is not None and np.prod(lattice.grid.size) < np.prod(transform.grid.size):
        coarse = _rounded(lattice, unit, transform)
        error = _largest_error(transform, coarse)
        if error <= tolerance_mm:
            return Compact(coarse, error)
    same = _rounded(transform, unit, transform)
    return Compact(same, _largest_error(transform, same))


def refuse_tolerance(tolerance_mm: object) -> None:
    """Raise InputError for what is no tolerance of :func:`compacted`."""
    if not isinstance(tolerance_mm, int | float) or not tolerance_mm >= 2 * _UNITS_MM[-1]:
        raise SettingError(f"A tolerance is millimetres, {2 * _UNITS_MM[-1]:.4f} or more, not {shown(tolerance_mm)}.")


def on_own_lattice(field: BidirectionalField, affine: NDArray[np.float64], fixed: Grid) -> Transform:
    """The direction onto ``fixed`` on the grid that ``field`` is made on, continued until it covers the scan.

    A deformation is linear between the points of its grid and so is an affine after it, so this is the whole of what
    :meth:`BidirectionalField.to_transforms` samples on the scan's own, usually finer, grid. The other direction has an affine
    before it and knows no such grid.
    """
    corners = field.grid.world_to_voxel(fixed.corners())
    first, last = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    (x, y, z), (i, j, k) = (last - first + 1).tolist(), field.grid.voxel_to_world(first).tolist()
    covering = replace(field.grid, size=(x, y, z), origin=(i, j, k))
    return field.to_transforms(fixed=covering, moving=_POINT, affine=affine).moving_to_fixed


_POINT = Grid((1, 1, 1), (1, 1, 1), (0, 0, 0))
"""Where nothing of the other direction is wanted."""


@dataclass(frozen=True, eq=False)
class _Rounded:
    """A transform's displacement in multiples of ``unit`` mm, without the whole of it being made."""

    transform: Transform
    unit: float

    def part(self, box: Box, channels: slice = slice(None)) -> NDArray[np.float32]:
        unit = np.float32(self.unit)
        values: NDArray[np.float32] = np.rint(self.transform.part(box, channels) / unit) * unit
        return np.moveaxis(values, -1, 0)


def _rounded(transform: Transform, unit: float, original: Transform) -> Transform:
    return Transform.on_demand(_Rounded(transform, unit), transform.grid).known_as(original.provenance)


def _largest_error(transform: Transform, coarse: Transform) -> float:
    """In mm, over all voxels of ``transform``."""
    errors: list[float] = []

    def work(part: slice, slab: Grid) -> None:
        box = (part, slice(None), slice(None))
        found = coarse.part(box) if coarse.grid == transform.grid else coarse.resampled(slab).displacement_mm
        error = found - transform.part(box)
        errors.append(float(np.sqrt(np.einsum("...c,...c", error, error).max())))

    each_slab(transform.grid, work)
    return max(errors)
