"""Both directions of a deformation on one grid: the form in which every stage of a registration hands it on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import compose, resize_displacement
from mics.deformation.on_demand import OnDemand
from mics.deformation.slabs import apply_linear
from mics.deformation.transform import Transform
from mics.errors import GeometryError, InputError, require_type, shown
from mics.image.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Transforms:
    """A deformation on the scans' own grids: each :class:`Transform` lies on the grid of the scan that it fills."""

    moving_to_fixed: Transform
    fixed_to_moving: Transform


@dataclass(frozen=True, kw_only=True, eq=False)
class BidirectionalField:
    """The deformation of one pair in both directions.

    Both lie on the **same** grid, in a half-way space into which either scan is brought by an affine of its own, which is not
    part of the field. With F and M the affines that take points p of that space to those of the fixed and the moving scan, both
    pull (docs/conventions.md):

    - ``moving_to_fixed``, u: what the fixed scan shows at F(p) is what the moving scan shows at M(p + u(p)).
    - ``fixed_to_moving``, v: what the moving scan shows at M(p) is what the fixed scan shows at F(p + v(p)).

    Two are equal if their grids and all displacements are, on one device. Tensors can be changed, so there is no hash.

    Args:
        moving_to_fixed: (1, 3, X, Y, Z) float32, in voxels of ``grid`` along its axes.
        fixed_to_moving: Likewise, on the same grid.
        grid: Where both lie.

    Raises:
        InputError: For tensors that do not fit the grid.
    """

    moving_to_fixed: Tensor
    fixed_to_moving: Tensor
    grid: Grid

    def __post_init__(self) -> None:
        require_type(self.grid, Grid, "The place of a deformation is a Grid")
        for name in ("moving_to_fixed", "fixed_to_moving"):
            displacement = getattr(self, name)
            require_type(displacement, Tensor, f"The displacement {name} is a torch tensor")
            if tuple(displacement.shape) != (1, 3, *self.grid.size):
                raise InputError(
                    f"The displacement {name} has the shape {tuple(displacement.shape)}: give (1, 3, X, Y, Z) on a grid of "
                    f"{self.grid.size} voxels."
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BidirectionalField):
            return NotImplemented
        pairs = zip(self._directions(), other._directions(), strict=True)
        return self.grid == other.grid and all(a.device == b.device and torch.equal(a, b) for a, b in pairs)

    def __repr__(self) -> str:
        longest = max(float(self._length_mm(displacement).max()) for displacement in self._directions())
        return f"BidirectionalField({self.grid}, up to {longest:.3g} mm)"

    def _directions(self) -> tuple[Tensor, Tensor]:
        return self.moving_to_fixed, self.fixed_to_moving

    def _length_mm(self, voxels: Tensor) -> Tensor:
        spacing = torch.tensor(self.grid.spacing, dtype=torch.float32, device=voxels.device)
        length: Tensor = (voxels[0] * spacing.view(3, 1, 1, 1)).norm(dim=0)
        return length

    @classmethod
    def identity(cls, grid: Grid, *, device: torch.device | str = "cpu") -> Self:
        """Make the deformation that moves nothing: the affine alone.

        Args:
            grid: Where it lies.
            device: Of its tensors.

        Returns:
            Both directions zero.
        """
        still = torch.zeros(1, 3, *grid.size, dtype=torch.float32, device=device)
        return cls(moving_to_fixed=still, fixed_to_moving=still, grid=grid)

    def swap(self) -> "BidirectionalField":
        """Exchange the roles of the scans, on the same grid.

        Returns:
            The same deformation with both directions in each other's place.
        """
        return replace(self, moving_to_fixed=self.fixed_to_moving, fixed_to_moving=self.moving_to_fixed)

    def compose(self, other: "BidirectionalField") -> "BidirectionalField":
        """Make one deformation of two: the moving image goes through ``other`` first, then through this one.

        The order is that of ``Transform.compose``; the fixed image goes back through this one first. Beyond the grid,
        displacements keep their border value.

        Args:
            other: On the same grid.

        Returns:
            The composed deformation, on that grid.

        Raises:
            InputError: If ``other`` is something else or lies on another grid.
        """
        require_type(other, BidirectionalField, "What a deformation is composed with is a BidirectionalField")
        if self.grid.size != other.grid.size or not self.grid.is_close(other.grid):
            raise GeometryError("The two deformations lie on different grids: resize one of them.")
        return replace(
            self,
            moving_to_fixed=compose(self.moving_to_fixed, other.moving_to_fixed),
            fixed_to_moving=compose(other.fixed_to_moving, self.fixed_to_moving),
        )

    def resize(self, size: Sequence[int]) -> "BidirectionalField":
        """Resample linearly to another number of voxels.

        Args:
            size: Voxels along the array axes, at least two.

        Returns:
            The same deformation on a grid with the same outermost voxel centres, in its voxels.

        Raises:
            InputError: For another size, which has no such grid.
        """
        grid = same_box(self.grid, size)
        return BidirectionalField(
            moving_to_fixed=resize_displacement(self.moving_to_fixed, size),
            fixed_to_moving=resize_displacement(self.fixed_to_moving, size),
            grid=grid,
        )

    def inverse_residual(self) -> Tensor:
        """Measure how far both directions are from being inverse to each other.

        For the other order: ``field.swap().inverse_residual()``. Beyond the grid, displacements keep their border value.

        Returns:
            Distance in mm of each voxel's centre from itself after ``moving_to_fixed`` and then back, (X, Y, Z).
        """
        return self._length_mm(compose(self.moving_to_fixed, self.fixed_to_moving))

    def to(self, device: torch.device | str) -> "BidirectionalField":
        """Move both directions to another device.

        Args:
            device: Where their tensors are to be.

        Returns:
            The same deformation there.
        """
        return replace(
            self, moving_to_fixed=self.moving_to_fixed.to(device), fixed_to_moving=self.fixed_to_moving.to(device)
        )

    def to_transforms(
        self, *, fixed: Grid, moving: Grid, to_fixed: NDArray[np.float64], to_moving: NDArray[np.float64]
    ) -> Transforms:
        """Put both directions on the scans' own grids, with the affines within them.

        x = F(p) of ``fixed`` takes its value from M(p + u(p)), y = M(p) of ``moving`` from F(p + v(p)). Beyond this field's
        grid, u and v keep their border values.

        Args:
            fixed: Grid of the fixed scan.
            moving: Grid of the moving scan.
            to_fixed: F, (4, 4), from LPS points of this field's space to those of the fixed scan.
            to_moving: M, likewise.

        Returns:
            Both transforms, in LPS mm, evaluated where they are asked for.

        Raises:
            InputError: If a displacement is NaN or infinite.
        """
        from_fixed, from_moving = np.linalg.inv(to_fixed), np.linalg.inv(to_moving)
        return Transforms(
            moving_to_fixed=_on_native(self.moving_to_fixed, self.grid, fixed, to_grid=from_fixed, from_grid=to_moving),
            fixed_to_moving=_on_native(
                self.fixed_to_moving, self.grid, moving, to_grid=from_moving, from_grid=to_fixed
            ),
        )


def same_box(grid: Grid, size: Sequence[int]) -> Grid:
    """The grid of ``size`` voxels with the same outermost voxel centres; raises InputError for sizes that have none."""
    if len(size) != 3 or min(size) < 2:
        raise GeometryError(
            f"A deformation has at least two voxels along each of three axes, not {shown(tuple(size))}."
        )
    x, y, z = size
    extents = [(length - 1) * step for length, step in zip(grid.size, grid.spacing, strict=True)]
    i, j, k = (extent / (length - 1) for extent, length in zip(extents, size, strict=True))
    return replace(grid, size=(x, y, z), spacing=(i, j, k))


def of_spacing(grid: Grid, spacing_mm: float) -> Grid:
    """A grid with the same outermost voxel centres and a spacing as near to ``spacing_mm`` as that allows."""
    extents = [(length - 1) * step for length, step in zip(grid.size, grid.spacing, strict=True)]
    return same_box(grid, [max(round(extent / spacing_mm), 1) + 1 for extent in extents])


def _on_native(
    displacement: Tensor, grid: Grid, native: Grid, *, to_grid: NDArray[np.floating], from_grid: NDArray[np.floating]
) -> Transform:
    """x takes its value from ``from_grid(to_grid(x) + u(to_grid(x)))``."""
    source = torch.from_numpy(apply_linear(from_grid @ grid.matrix, displacement[0].cpu().numpy()))[None]
    if not bool(source.isfinite().all()):
        raise InputError("A displacement is finite numbers in voxels: this one holds NaN or infinite values.")
    to_source = grid.inverse_matrix @ to_grid @ native.matrix
    straight = (from_grid @ to_grid - np.eye(4)) @ native.matrix
    return Transform.on_demand(OnDemand(source, to_source, straight, native.size), native)
