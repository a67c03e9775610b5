"""Where the voxels of a volume are in the patient: the only owner of geometry.

World coordinates are LPS millimetres (x toward the patient's Left, y Posterior, z Superior), as in ITK, DICOM and ANTs.
Array axes are (i, j, k), the order in which NIfTI stores them; `direction` says where each of them runs in the world.
A direction matrix may be left-handed: NIfTI allows it, and nothing here assumes otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mics.errors import GeometryError, SettingError, shown

Array = NDArray[np.float64]

GRID_TOLERANCE_VOXELS = 0.1
"""How far apart a scan and its label map may lie: headers often differ in the last digits, and so little changes no label."""
NETWORK_ORIENTATION = "LAS"
"""Array order of the training volumes and of the networks' grids: towards the patient's left, anterior, superior."""
_ORTHONORMAL_TOLERANCE = 1e-3
_AXIS_OF_LETTER = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxel centres in LPS millimetres.

    Args:
        size: Voxels along the array axes (i, j, k).
        spacing: Millimetres between neighbours along each array axis.
        origin: LPS millimetres of the centre of voxel (0, 0, 0).
        direction: Nine numbers, a 3x3 matrix row by row; column c is the LPS unit vector of array axis c.

    Raises:
        InputError: For a size below one, a spacing that is not positive, numbers that are not finite, and a direction whose
            columns are not orthonormal to 1e-3.

    Example:
        >>> grid = Grid((4, 3, 2), (2.0, 2.0, 5.0), (10.0, 20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> grid.orientation
        'LPS'
        >>> grid.voxel_to_world([1, 0, 0.5]).tolist()
        [12.0, 20.0, 32.5]
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        for name, length in (("size", 3), ("spacing", 3), ("origin", 3), ("direction", 9)):
            given = getattr(self, name)
            try:
                values: tuple[float, ...] = tuple(float(value) for value in given)
            except (TypeError, ValueError) as error:
                raise GeometryError(f"The {name} of a grid is {length} finite numbers, not {given!r}.") from error
            if len(values) != length or not all(math.isfinite(value) for value in values):
                raise GeometryError(f"The {name} of a grid is {length} finite numbers, not {values}.")
            if name == "size":
                if not all(value.is_integer() for value in values):
                    raise GeometryError(f"The size of a grid is whole numbers of voxels, not {values}.")
                values = tuple(int(value) for value in values)
            object.__setattr__(self, name, values)
        if min(self.size) < 1:
            raise GeometryError(f"A grid needs at least one voxel along each axis, not {self.size}.")
        if min(self.spacing) <= 0:
            raise GeometryError(f"The spacing of a grid is positive millimetres, not {self.spacing}.")
        axes = self._axes
        if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHONORMAL_TOLERANCE:
            raise GeometryError(f"The columns of a direction are orthonormal, those of {self.direction} are not.")

    def __str__(self) -> str:
        size, spacing = "×".join(map(str, self.size)), "×".join(f"{step:.4g}" for step in self.spacing)
        return f"{size}, {spacing} mm, {self.orientation}"

    def __repr__(self) -> str:
        return f"Grid({self}, from {', '.join(f'{value:.6g}' for value in self.origin)} mm)"

    @property
    def _axes(self) -> Array:
        """The direction as a matrix, (3, 3)."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def matrix(self) -> Array:
        """Map from voxel (i, j, k, 1) to LPS millimetres, (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self._axes * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def inverse_matrix(self) -> Array:
        """Map from LPS millimetres (x, y, z, 1) to voxel, (4, 4)."""
        return np.linalg.inv(self.matrix).astype(np.float64)

    def voxel_to_world(self, points: ArrayLike) -> Array:
        """Map voxels to the patient's space.

        Args:
            points: Positions (i, j, k), (..., 3); fractions are allowed.

        Returns:
            Their LPS millimetres, (..., 3).

        Raises:
            InputError: For what are no numbers, or of another shape.
        """
        return apply_matrix(self.matrix, _triples(points))

    def world_to_voxel(self, points: ArrayLike) -> Array:
        """Map points of the patient's space to voxels.

        Args:
            points: LPS millimetres, (..., 3).

        Returns:
            Their positions (i, j, k), (..., 3), with fractions.

        Raises:
            InputError: For what are no numbers, or of another shape.
        """
        return apply_matrix(self.inverse_matrix, _triples(points))

    def corners(self) -> Array:
        """The eight outermost voxel centres.

        Returns:
            Their LPS millimetres, (8, 3).
        """
        last = np.array(self.size) - 1
        return self.voxel_to_world([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])

    @property
    def centre(self) -> Array:
        """LPS millimetres of the middle of the grid, (3,)."""
        return self.voxel_to_world((np.array(self.size) - 1) / 2)

    def points(self) -> NDArray[np.float32]:
        """All voxel centres.

        Returns:
            Their LPS millimetres, (X, Y, Z, 3).
        """
        points = np.empty((*self.size, 3), dtype=np.float32)
        i, j, k = np.ogrid[: self.size[0], : self.size[1], : self.size[2]]
        for c, (a, b, d, t) in enumerate(self.matrix[:3]):
            points[..., c] = (a * i + b * j).astype(np.float32) + (d * k + t).astype(np.float32)
        return points

    def is_close(self, other: "Grid", tolerance_mm: float = 1e-3) -> bool:
        """Tell whether both grids have the same size and their voxels the same places.

        Args:
            other: Another grid.
            tolerance_mm: How far apart the same voxel may lie on both, in millimetres.

        Returns:
            Whether no voxel lies further apart.
        """
        return self.size == other.size and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)

    @property
    def orientation(self) -> str:
        """Three letters, the nearest anatomical direction that each array axis runs toward: "LPS", "RAS", ..."""
        letters, free = ["", "", ""], {0, 1, 2}
        steepness = np.abs(self._axes)
        for column in np.argsort(-steepness.max(axis=0), kind="stable"):
            row = max(free, key=lambda row: steepness[row, column])
            free.remove(row)
            letters[column] = _LETTERS[row][0 if self._axes[row, column] >= 0 else 1]
        return "".join(letters)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON.

        Returns:
            ``size``, ``spacing_mm``, ``origin_lps_mm``, ``direction_lps`` and ``orientation``; :meth:`from_dict` reads them back.
        """
        return {
            "size": list(self.size),
            "spacing_mm": list(self.spacing),
            "origin_lps_mm": list(self.origin),
            "direction_lps": list(self.direction),
            "orientation": self.orientation,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The grid that :meth:`to_dict` described.

        Args:
            values: What :meth:`to_dict` gave; ``orientation`` is not needed.

        Returns:
            The grid.
        """
        return cls(values["size"], values["spacing_mm"], values["origin_lps_mm"], values["direction_lps"])

    @classmethod
    def axis_aligned(
        cls,
        lower_mm: ArrayLike,
        upper_mm: ArrayLike,
        spacing: float | Sequence[float],
        orientation: str = NETWORK_ORIENTATION,
    ) -> Self:
        """The grid over a box whose axes run along the anatomical directions of ``orientation``.

        The first voxel centre lies in the corner of the box where all axes start, the last ones on or just beyond the
        opposite faces.

        Args:
            lower_mm: The corner of the box with the smallest LPS millimetres, (3,).
            upper_mm: The opposite corner, (3,).
            spacing: Millimetres, one number or one per array axis.
            orientation: A letter of R/L, of A/P and of I/S, where each array axis runs towards.

        Returns:
            The grid.

        Raises:
            InputError: If ``orientation`` does not name each anatomical axis once or the box is empty.
        """
        lower, upper = np.asarray(lower_mm, dtype=float), np.asarray(upper_mm, dtype=float)
        if sorted(_AXIS_OF_LETTER.get(letter, (9, 0))[0] for letter in orientation) != [0, 1, 2]:
            raise SettingError(
                f"An orientation names each anatomical axis once, as LPS or RAS do, not {orientation!r}."
            )
        if not np.all(upper >= lower):
            raise GeometryError(f"The box from {lower.tolist()} to {upper.tolist()} mm is empty.")
        steps = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
        axes, origin, size = np.zeros((3, 3)), np.zeros(3), []
        for column, letter in enumerate(orientation):
            row, sign = _AXIS_OF_LETTER[letter]
            axes[row, column] = sign
            origin[row] = lower[row] if sign > 0 else upper[row]
            # A box of exactly n steps must not become n + 1 by rounding.
            size.append(math.ceil((upper[row] - lower[row]) / steps[column] - 1e-6) + 1)
        direction = tuple(axes.ravel().tolist())
        i, j, k = origin.tolist()
        return cls((size[0], size[1], size[2]), (steps[0], steps[1], steps[2]), (i, j, k), direction)


def _triples(points: ArrayLike) -> Array:
    try:
        triples = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"Points are numbers, not {shown(points)}.") from error
    if triples.shape[-1:] != (3,):
        raise SettingError(f"Points are an array of shape (..., 3), not {triples.shape}.")
    return triples


def apply_matrix(matrix: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., 3) moved by an affine map (4, 4)."""
    affine = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
