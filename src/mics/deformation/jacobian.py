"""The Jacobian determinant of a displacement: its change of volume, and its folds.

All functions take a displacement ``(B, 3, X, Y, Z)`` in voxels, so that the map is x + displacement(x).
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

# Voxels worked on at a time when only a sum is wanted: a native volume's nine derivatives take 1.4 gigabytes, and what fits
# into the processor's cache takes a third of the time.
CACHED_VOXELS = 300_000


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Determinant of the Jacobian matrix of x + displacement(x); differentiable.

    Central differences, one-sided ones at the border, in float32 with autocast off. 1 keeps volume, 0 and less folds. Central
    differences look past the voxel itself and so miss folds that alternate from voxel to voxel:
    :func:`nondiffeomorphic_volume` does not.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels, of at least two voxels along each axis.

    Returns:
        ``(B, X, Y, Z)`` float32, without unit.

    Example:
        >>> stretch = torch.zeros(1, 3, 4, 4, 4)
        >>> stretch[:, 0] = 0.5 * torch.arange(4.0).view(4, 1, 1)
        >>> jacobian_determinant(stretch).unique().tolist()
        [1.5]
    """
    with torch.autocast(displacement.device.type, enabled=False):
        x, y, z = (_central(displacement.float(), axis) for axis in range(3))
        return _determinant(x, y, z)


@dataclass(frozen=True)
class VolumeChange:
    """Summary of the Jacobian determinants of a displacement: their number, how many are zero or negative, and their range."""

    voxels: int
    folds: int
    least: float
    largest: float

    @property
    def fold_share(self) -> float:
        """Share of the voxels, 0 to 1, whose determinant is zero or negative."""
        return self.folds / self.voxels

    @classmethod
    def of(cls, determinant: Tensor) -> "VolumeChange":
        """The summary of Jacobian determinants.

        Args:
            determinant: Of any shape, at least one.

        Returns:
            Their number, folds and range.
        """
        least, largest = torch.aminmax(determinant)
        return cls(determinant.numel(), int((determinant <= 0).sum()), float(least), float(largest))

    @classmethod
    def together(cls, parts: Iterable["VolumeChange"]) -> "VolumeChange":
        """The summary of several parts of a volume in one.

        Args:
            parts: The parts' summaries, at least one.

        Returns:
            That of the whole.
        """
        voxels, folds, least, largest = zip(*map(astuple, parts), strict=True)
        return cls(sum(voxels), sum(folds), min(least), max(largest))


def volume_change(displacement: Tensor) -> VolumeChange:
    """Folds and range of the Jacobian determinant by central differences, computed slab by slab.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels, of at least two voxels along each axis.

    Returns:
        The summary of all voxels of all fields.
    """
    return VolumeChange.together(
        VolumeChange.of(determinant_between(displacement, start, stop)) for start, stop in slabs(displacement)
    )


def determinant_between(displacement: Tensor, start: int, stop: int) -> Tensor:
    """The Jacobian determinants of some slices along X, as :func:`jacobian_determinant` of the whole has them.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels; the slices' neighbours are looked at.
        start: The first slice.
        stop: The slice after the last.

    Returns:
        ``(B, stop - start, Y, Z)`` float32, without unit.
    """
    first = max(start - 1, 0)
    return jacobian_determinant(displacement[:, :, first : stop + 1])[:, start - first : stop - first]


def fold_share(displacement: Tensor) -> float:
    """Share of voxels whose Jacobian determinant by central differences is zero or negative.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels, of at least two voxels along each axis.

    Returns:
        0 to 1.
    """
    return volume_change(displacement).fold_share


def nondiffeomorphic_volume(displacement: Tensor) -> float:
    """Volume that the map turns inside out, the "non-diffeomorphic volume" of Liu et al.

    Every cell of eight voxels splits into five tetrahedra in two ways: four at corners and one in the middle. A map that is
    linear within each folds where one of the ten changes its orientation. Returned is the volume of those that do, halved
    because each way counts the cell once, over the voxels that have both neighbours on every axis (the authors' choice). Each
    determinant is six times the volume of a tetrahedron.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels.

    Returns:
        Percent of those voxels.

    Raises:
        ValueError: Below three voxels along an axis.

    References:
        Liu et al. 2024, "On finite difference Jacobian computation in deformable image registration", IJCV.
    """
    batch, _, x, y, z = displacement.shape
    if min(x, y, z) < 3:
        raise ValueError(f"The non-diffeomorphic volume needs three voxels along each axis, not {(x, y, z)}.")
    negative = 0.0
    for start, stop in slabs(displacement[:, :, 1:-1]):
        for determinant in _ten_determinants(displacement[:, :, start : stop + 2].float()):
            negative -= float(determinant.clamp(max=0).sum(dtype=torch.float64))
    return 100 * negative / 6 / 2 / (batch * (x - 2) * (y - 2) * (z - 2))


def _ten_determinants(displacement: Tensor) -> Iterator[Tensor]:
    """Determinants of the ten tetrahedra at each inner voxel: the eight corners, then J1* and J2* (Liu et al. 2024)."""

    def edge(*step: int) -> Tensor:
        """Where the neighbour at ``step`` goes, seen from where the voxel itself goes."""
        length = displacement.shape[2:]
        shifted = [slice(1 + s, n - 1 + s) for s, n in zip(step, length, strict=True)]
        difference = displacement[:, :, shifted[0], shifted[1], shifted[2]] - displacement[:, :, 1:-1, 1:-1, 1:-1]
        return difference + torch.tensor(step, dtype=difference.dtype, device=difference.device).view(1, 3, 1, 1, 1)

    along_y, along_z = {s: s * edge(0, s, 0) for s in (1, -1)}, {s: s * edge(0, 0, s) for s in (1, -1)}
    areas = {(s, t): torch.linalg.cross(along_y[s], along_z[t], dim=1) for s in (1, -1) for t in (1, -1)}
    for sign in (1, -1):
        along_x = sign * edge(sign, 0, 0)
        for area in areas.values():
            yield (along_x * area).sum(dim=1)
    yield _determinant(edge(-1, -1, 0), edge(-1, 0, -1), edge(0, -1, -1))
    yield _determinant(edge(1, 1, 0), edge(0, 1, 1), edge(1, 0, 1))


def _central(displacement: Tensor, axis: int) -> Tensor:
    """Derivative of x + displacement(x) along one axis, ``(B, 3, X, Y, Z)``."""
    (derivative,) = torch.gradient(displacement, dim=axis + 2)
    derivative[:, axis] += 1
    return derivative


def _determinant(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Determinant of three vectors ``(B, 3, X, Y, Z)`` at each voxel, ``(B, X, Y, Z)``."""
    return triple_product(first.movedim(1, 0), second.movedim(1, 0), third.movedim(1, 0))


def triple_product(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a · (b × c) of vectors ``(3, …)``; written out, because the library's cross product takes several times as long."""
    x, y, z = (b[i] * c[j] - b[j] * c[i] for i, j in ((1, 2), (2, 0), (0, 1)))
    return a[0] * x + a[1] * y + a[2] * z


def slabs(displacement: Tensor) -> Iterator[tuple[int, int]]:
    """Start and stop along X of pieces of about ``CACHED_VOXELS`` voxels, none of them a single slice unless all is."""
    batch, _, length, y, z = displacement.shape
    count = max(1, min(length // 2, batch * length * y * z // CACHED_VOXELS))
    for n in range(count):
        yield n * length // count, (n + 1) * length // count
