"""A displacement on its grid, in the patient's millimetres: saved, loaded, applied to images, labels and points."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mics.deformation import libraries
from mics.deformation.fill import fill
from mics.deformation.foreign import refuse_places
from mics.deformation.jacobian import VolumeChange
from mics.deformation.jacobian_slabs import volume_change_by_slabs
from mics.deformation.on_demand import MadeOnDemand, between_voxels
from mics.deformation.provenance import Provenance
from mics.deformation.slabs import Box, apply_linear, each_slab, positions, resampled, sampled
from mics.deformation.stored import read_displacement, refuse_other_formats, write_displacement
from mics.errors import GeometryError, InputError, SettingError, counted, require_type, shown
from mics.files.paths import as_path, output_path
from mics.image.checks import refuse_merging_labels
from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image

_MAX_VALUE = float(np.finfo(np.float32).max)
_IMAGE = "What a transform is applied to is an Image"


@dataclass(frozen=True, eq=False)
class Transform(MadeOnDemand):
    """A dense transform that fills ``grid``: the point x of ``grid`` takes its value from ``x + displacement_mm(x)``.

    Beyond the grid, the displacement is that of the nearest point on its border.

    It pulls. So an image comes over from where the displacement points to, and a POINT goes the other way: a landmark
    of the filled (fixed) volume lands at its place in the volume sampled from (moving).

    Those of a registration are kept as what they are made of and evaluated where they are needed, as two of them take gigabytes
    on the grids of large scans; ``displacement_mm`` is the whole, made when it is first asked for and kept from then on.

    Two are equal if their grids, all displacements and what is known of them are. Arrays can be changed, so there is no hash.

    Args:
        displacement_mm: (X, Y, Z, 3) float32, LPS millimetres whatever the direction of the grid's axes.
        grid: The grid that it fills, that of the fixed scan.
        provenance: Which scans it is for, where that is known.

    Raises:
        InputError: If it is no array of finite real numbers or its shape does not fit the grid.

    Example:
        >>> import numpy as np
        >>> grid = Grid((4, 3, 2), (2.0, 2.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> shift = Transform(np.full((4, 3, 2, 3), [3.0, 0.0, -1.0], np.float32), grid)
        >>> shift.transform_points([[2.0, 2.0, 5.0]]).tolist()
        [[5.0, 2.0, 4.0]]
    """

    displacement_mm: NDArray[np.float32]
    grid: Grid
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        require_type(self.displacement_mm, np.ndarray, "A displacement is a numpy array")
        require_type(self.grid, Grid, "The place of a displacement is a Grid")
        if self.displacement_mm.dtype.kind not in "iuf":
            raise InputError(f"A displacement is real numbers, not values of the type {self.displacement_mm.dtype}.")
        if self.displacement_mm.shape != (*self.grid.size, 3):
            raise GeometryError(
                f"A displacement of shape {self.displacement_mm.shape} does not fit a grid of size {self.grid.size}."
            )
        # Both carry NaN on, and need no second array as isfinite of all does.
        if not (math.isfinite(self.displacement_mm.min()) and math.isfinite(self.displacement_mm.max())):
            raise InputError("A displacement is finite numbers in millimetres: this one holds NaN or infinite values.")
        object.__setattr__(self, "displacement_mm", np.asarray(self.displacement_mm, dtype=np.float32))

    def known_as(self, provenance: Provenance | None) -> Self:
        """The same transform with another provenance.

        Args:
            provenance: Which scans it is for.

        Returns:
            The transform; what it is made of is the same, and so is the whole displacement where that has been made.
        """
        known = copy(self)
        known.__dict__["provenance"] = provenance
        return known

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Transform):
            return NotImplemented
        alike = self.grid == other.grid and self.provenance == other.provenance
        return alike and np.array_equal(self.displacement_mm, other.displacement_mm)

    def __repr__(self) -> str:
        planes = (self.part(_slab(slice(i, i + 1))) for i in range(self.grid.size[0]))
        longest = max(float(np.linalg.norm(plane, axis=-1).max()) for plane in planes)
        return f"Transform({self.grid}, up to {longest:.3g} mm)"

    @classmethod
    def from_voxels(cls, displacement: Tensor, grid: Grid) -> Self:
        """The transform of a displacement as networks and the functions on tensors have it.

        Args:
            displacement: (1, 3, X, Y, Z) or (3, X, Y, Z), in voxels of ``grid``.
            grid: The grid that it fills.

        Returns:
            The transform.
        """
        voxels = displacement.detach().cpu().float().reshape(3, *grid.size).numpy()
        return cls(np.moveaxis(apply_linear(grid.matrix, voxels), 0, -1), grid)

    def displacement_voxels(self) -> Tensor:
        """The displacement along the grid's own axes.

        Returns:
            (1, 3, X, Y, Z) float32, in voxels.
        """
        return torch.from_numpy(apply_linear(self.grid.inverse_matrix, self.channels()[0].numpy()))[None]

    def channels(self) -> Tensor:
        """The displacement as a volume that can be sampled.

        Returns:
            A copy, (1, 3, X, Y, Z) float32, in LPS millimetres.
        """
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(self.displacement_mm, -1, 0)))[None]

    def sources(self, grid: Grid) -> NDArray[np.float32]:
        """The place in the sampled volume from which each voxel takes its value.

        Args:
            grid: The grid of the volume that is sampled.

        Returns:
            (3, X, Y, Z) float32, in voxels of ``grid``.
        """
        places = positions(grid.inverse_matrix @ self.grid.matrix, self.grid.size)
        places += apply_linear(grid.inverse_matrix, self.channels()[0].numpy())
        return places

    def save(self, path: str | Path, *, closely: bool = False) -> None:
        """Write an ITK displacement field, LPS millimetres; the file appears complete or not at all.

        ANTs, SimpleITK and 3D Slicer read it as it is. Rounded to 1/256 mm. Its provenance is told by ``<name>.json`` beside it.

        Args:
            path: .nii.gz (five-dimensional, vector intent 1007), .nrrd or .mha.
            closely: Pack .nii.gz closer, which takes time.

        Raises:
            InputError: If it cannot be written.
        """
        path = output_path(path)
        write_displacement(self.part, self.grid, path, closely=closely)
        if self.provenance is not None:
            self.provenance.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ITK displacement field, as :meth:`save`, ANTs or Slicer write it, and what the JSON beside it tells.

        Where the file is coarser than the scan that it fills, as of :func:`mics.deformation.compact.compacted`, and the JSON
        knows that scan's grid, the transform is brought onto it.

        Args:
            path: The file.

        Returns:
            The transform.

        Raises:
            InputError: For a file that cannot be read, is no 3D field of three values, or holds NaN, infinities or what another
                program means by its vectors.
        """
        refuse_other_formats(as_path(path))
        displacement, grid = read_displacement(as_path(path))
        known = Provenance.load(Path(path))
        if known is None:  # what we have written is a displacement, whatever it looks like
            refuse_places(displacement, grid, Path(path))
        stored = cls(displacement, grid, known)
        if known is None or stored.grid.is_close(known.scans[known.target].grid):
            return stored
        own = known.filled_grid(stored.grid, Path(path))
        return cls(stored.resampled(own).displacement_mm, own, known)

    def transform_image(self, image: Image, outside: float = AIR_HU, grid: Grid | None = None) -> Image:
        """An image, brought over by one linear interpolation.

        Args:
            image: The volume to sample, on any grid.
            outside: Value of voxels filled from beyond its field of view, which ends half a voxel outside its outermost voxel
                centres; air by default.
            grid: What is filled; by default this transform's grid.

        Returns:
            The volume, float32, on that grid.

        Raises:
            InputError: For what is no :class:`Image`, and for a value that is no finite number or none of single precision.
        """
        require_type(image, Image, _IMAGE)
        if not isinstance(outside, int | float | np.number) or not abs(outside) <= _MAX_VALUE:
            raise SettingError(f"The value outside an image is a finite number, below 3.4e38, not {shown(outside)}.")
        values = Image(image.array.astype(np.float32, copy=False), image.grid)
        own = self._on(grid)
        return fill(own.grid, own.part, values, sitk.sitkLinear, outside)

    def transform_labels(self, image: Image, grid: Grid | None = None) -> Image:
        """A label map, brought over by nearest neighbour; beyond it is background, 0.

        Args:
            image: The label map, on any grid.
            grid: What is filled; by default this transform's grid.

        Returns:
            The label map on that grid.

        Raises:
            InputError: For what is no :class:`Image`, and for labels above 2**53, which ITK does not tell apart.
        """
        require_type(image, Image, _IMAGE)
        refuse_merging_labels(image.array, "The label map")
        own = self._on(grid)
        return fill(own.grid, own.part, image, sitk.sitkNearestNeighbor, 0)

    def transform_points(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map points of the filled (fixed) volume into the volume sampled from (moving).

        Args:
            points_lps: LPS millimetres, (N, 3).

        Returns:
            LPS millimetres, (N, 3).

        Raises:
            InputError: For an array of another shape, and for what are no finite numbers.
        """
        try:
            points = np.asarray(points_lps, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise SettingError(f"Points are numbers in LPS millimetres, not {shown(points_lps)}.") from error
        if points.ndim != 2 or points.shape[1] != 3:
            raise SettingError(f"Points are an array of shape (N, 3) in LPS millimetres, not {points.shape}.")
        if bad := int(np.count_nonzero(~np.isfinite(points).all(axis=1))):
            raise InputError(
                f"{counted(bad, 'point')} {'is' if bad == 1 else 'are'} not finite: leave such points out."
            )
        moved = self.between_voxels(self.grid.world_to_voxel(points).T)
        return points + moved.T.astype(np.float64)

    def between_voxels(self, voxels: NDArray[np.floating]) -> NDArray[np.float32]:
        """Displacements at any places, interpolated linearly; beyond the grid those of its border.

        Args:
            voxels: (3, N), in voxels of the grid.

        Returns:
            (3, N), LPS millimetres.
        """
        return between_voxels(self.part, self.grid.size, voxels)

    def compose(self, other: "Transform") -> "Transform":
        """One transform for two: an image goes through ``other`` first, then through this one; points the other way round.

        ``a.compose(b).transform_image(v)`` is ``a.transform_image(b.transform_image(v))`` without the second interpolation.

        Args:
            other: The transform that an image goes through first.

        Returns:
            The transform, on this one's grid.

        Raises:
            InputError: For what is no transform.
        """
        require_type(other, Transform, "What a transform is composed with is a Transform")
        composed = np.empty((*self.grid.size, 3), dtype=np.float32)
        source = other.channels()

        def work(part: slice, slab: Grid) -> None:
            second = Transform(self.part(_slab(part)), slab)
            composed[part] = second.displacement_mm + np.moveaxis(sampled(source, second.sources(other.grid)), 0, -1)

        each_slab(self.grid, work)
        return Transform(composed, self.grid)

    def resampled(self, grid: Grid) -> "Transform":
        """The same transform on another grid, by linear interpolation; beyond this grid its border value.

        Args:
            grid: The grid.

        Returns:
            The transform on it.

        Raises:
            InputError: For what is no :class:`Grid`.
        """
        require_type(grid, Grid, "What a transform is brought onto is a Grid")
        displacement = np.empty((*grid.size, 3), dtype=np.float32)
        source = self.channels()

        def work(part: slice, slab: Grid) -> None:
            values = resampled(source, self.grid.inverse_matrix @ slab.matrix, slab.size)
            displacement[part] = np.moveaxis(values, 0, -1)

        each_slab(grid, work)
        return Transform(displacement, grid)

    def inverse(self, grid: Grid | None = None) -> "Transform":
        """The transform that undoes this one, for one that comes alone; a registration delivers both directions already.

        Args:
            grid: what the inverse fills; by default the grid of the scan that this transform takes, where the file or the
                registration that it comes from says which (:attr:`provenance`).

        Returns:
            The inverse, within 0.005 mm at its voxels (:func:`mics.deformation.inversion.inverted`); warns where this one folds.

        Raises:
            InputError: if no grid is given and none is known.
        """
        from mics.deformation.inversion import inverted

        known = self.provenance
        if grid is None and known is None:
            raise SettingError(
                "Which grid the inverse is to fill is not known: give that of the moving image.", option="grid"
            )
        place = known.scans[known.source].grid if grid is None and known is not None else grid
        require_type(place, Grid, "The place of an inverse is a Grid")
        assert place is not None
        result = inverted(self, place)
        return result if known is None or grid is not None else result.known_as(known.opposite())

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """The transform for SimpleITK, as in ``sitk.Resample(moving, fixed, t.to_sitk())``; it takes points as ITK does.

        Returns:
            The displacement field's transform, a copy.
        """
        return sitk.DisplacementFieldTransform(
            sitk.Cast(libraries.to_itk(self.displacement_mm, self.grid), sitk.sitkVectorFloat64)
        )

    def to_nibabel(self) -> Any:
        """The transform for nibabel: what :meth:`save` writes.

        Returns:
            A ``nibabel.Nifti1Image``, five-dimensional, of intent 1007, its vectors in LPS mm.
        """
        return libraries.to_nibabel(self.displacement_mm, self.grid)

    def to_ants(self) -> Any:
        """The transform for ANTsPy, as in ``t.to_ants().apply_to_image(moving, fixed)``.

        Returns:
            An ``ants`` transform.
        """
        return libraries.to_ants(self.displacement_mm, self.grid)

    def subsampled(self, steps: Sequence[int]) -> "Transform":
        """The transform at every n-th voxel along each axis: no value changes.

        Args:
            steps: n along each array axis.

        Returns:
            The transform on the coarser grid.
        """
        displacement = self.part(tuple(slice(None, None, step) for step in steps))
        x, y, z = displacement.shape[:3]
        i, j, k = (spacing * step for spacing, step in zip(self.grid.spacing, steps, strict=True))
        return Transform(displacement, Grid((x, y, z), (i, j, k), self.grid.origin, self.grid.direction))

    def volume_change(self) -> VolumeChange:
        """Measure the change of volumes.

        Returns:
            Folds and range of the Jacobian determinants on its grid, by central differences, without a second copy of it.
        """
        return volume_change_by_slabs(self.part, self.grid)

    def _on(self, grid: Grid | None) -> "Transform":
        return self if grid is None or grid == self.grid else self.resampled(grid)


def _slab(part: slice) -> Box:
    """The whole planes ``part`` along the first axis."""
    return (part, slice(None), slice(None))
