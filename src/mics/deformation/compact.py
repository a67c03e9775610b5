"""A transform as small as a tolerance allows: on a coarser grid, or in coarser numbers, in the form that every tool reads."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.slabs import Box, each_slab
from mics.deformation.transform import Transform
from mics.errors import SettingError, shown
from mics.image.grid import Grid, apply_matrix

TOLERANCE_MM = 0.05
"""A sixteenth of the voxel edge of a fine abdominal CT."""

_SMALLEST_MM = 2.0**-8
"""What the files keep of any transform."""
_UNITS_MM = tuple(
    (edge, *finer)
    for edge in (2.0**-n for n in range(8))
    for finer in ((edge, edge), (edge, edge / 2), (edge / 2,) * 2)
) + ((_SMALLEST_MM,) * 3,)
"""Of the world axes, from coarse to fine: powers of two, as other numbers have no fewer digits in the file."""
_ORTHONORMAL = 1e-6
"""By which the axes of a turned grid may miss being at right angles: half a thousandth of a mm over a scan."""
_HAIR = 1e-6
_FLOAT_MM = 1e-4
"""What single precision may add."""
_ROUNDING_SHARE = 0.6
"""Of the tolerance, at most for the rounding of numbers where the grid is coarser too."""


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
    if lattice is not None and np.prod(lattice.grid.size) < np.prod(transform.grid.size):
        coarse = _rounded(lattice, _units(_ROUNDING_SHARE * tolerance_mm), transform)
        error = _largest_error(transform, coarse)
        if error <= tolerance_mm:
            return Compact(coarse, error)
    same = _rounded(transform, _units(tolerance_mm), transform)
    return Compact(same, _largest_error(transform, same))


def _units(tolerance_mm: float) -> NDArray[np.float32]:
    """The coarsest units of the three axes by whose rounding no vector is off by more, half a unit along each axis."""
    fitting = [units for units in _UNITS_MM if np.linalg.norm(units) / 2 <= tolerance_mm - _FLOAT_MM]
    return np.array(fitting[0] if fitting else _UNITS_MM[-1], dtype=np.float32)


def refuse_tolerance(tolerance_mm: object) -> None:
    """Raise InputError for what is no tolerance of :func:`compacted`."""
    if not isinstance(tolerance_mm, int | float) or not tolerance_mm >= 2 * _SMALLEST_MM:
        raise SettingError(f"A tolerance is millimetres, {2 * _SMALLEST_MM:.4f} or more, not {shown(tolerance_mm)}.")


def on_own_lattice(
    field: BidirectionalField, fixed: Grid, *, to_fixed: NDArray[np.float64], to_moving: NDArray[np.float64]
) -> Transform | None:
    """The direction onto ``fixed`` on the grid that ``field`` is made on, continued until it covers the scan.

    A deformation is linear between the points of its grid and so is an affine after it, so this is the whole of what
    :meth:`BidirectionalField.to_transforms` samples on the scan's own, usually finer, grid. The other direction is that of
    ``field.swap()``.

    Args:
        field: the deformation.
        fixed: grid of the scan.
        to_fixed: (4, 4), from points of the field's space to those of the scan, LPS mm.
        to_moving: to those of the other scan.

    Returns:
        The transform; None where ``to_fixed`` shears or stretches, as a grid with oblique axes is no image's.
    """
    scale = float(np.cbrt(np.linalg.det(to_fixed[:3, :3])))
    turn = to_fixed[:3, :3] / scale
    if scale <= 0 or not np.allclose(turn @ turn.T, np.eye(3), rtol=0, atol=_ORTHONORMAL):
        return None
    a, b, c = (edge * scale for edge in field.grid.spacing)
    direction = tuple((turn @ np.reshape(field.grid.direction, (3, 3))).ravel().tolist())
    i, j, k = apply_matrix(to_fixed, np.array(field.grid.origin)).tolist()
    lattice = replace(field.grid, spacing=(a, b, c), origin=(i, j, k), direction=direction)
    corners = lattice.world_to_voxel(fixed.corners())
    # An identity's matrix, which takes a corner a hair beyond its voxel, wants no further plane.
    first, last = np.floor(corners.min(axis=0) + _HAIR).astype(int), np.ceil(corners.max(axis=0) - _HAIR).astype(int)
    (x, y, z), (i, j, k) = (last - first + 1).tolist(), lattice.voxel_to_world(first).tolist()
    covering = replace(lattice, size=(x, y, z), origin=(i, j, k))
    return field.to_transforms(fixed=covering, moving=_POINT, to_fixed=to_fixed, to_moving=to_moving).moving_to_fixed


_POINT = Grid((1, 1, 1), (1, 1, 1), (0, 0, 0))
"""Where nothing of the other direction is wanted."""


@dataclass(frozen=True, eq=False)
class _Rounded:
    """A transform's displacement in multiples of ``units`` mm along either axis, without the whole of it being made."""

    transform: Transform
    units: NDArray[np.float32]

    def part(self, box: Box, channels: slice = slice(None)) -> NDArray[np.float32]:
        units = self.units[channels]
        values: NDArray[np.float32] = np.rint(self.transform.part(box, channels) / units) * units
        return np.moveaxis(values, -1, 0)


def _rounded(transform: Transform, units: NDArray[np.float32], original: Transform) -> Transform:
    return Transform.on_demand(_Rounded(transform, units), transform.grid).known_as(original.provenance)


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
