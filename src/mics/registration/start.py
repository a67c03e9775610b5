"""Where the affine registration starts: how far apart the two scans are along the body, and how much one is wider.

Hospitals centre their scans differently, so neither the middle of the volumes nor the centre of mass of the bodies
tells how far a scan must be shifted along the body: one reaches to the hip, the other to the heart. All shifts are
tried.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mics.deformation.slabs import resampled
from mics.registration.coarse import Coarse
from mics.registration.pair import Pair
from mics.threads import side_by_side

# Of the shorter of the two scans' lengths along the body, how much both must show. With less, any two slabs look alike.
_MIN_SHARED_LENGTH = 0.4
_SCALES = (0.7, 1.4)


@dataclass(frozen=True, eq=False)
class _Profile:
    """Sums over the body in each axial plane: area, x, y, x², y², (5, Z); and the planes' z in mm."""

    sums: NDArray[np.float64]
    z: NDArray[np.floating]

    def moments(self, low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centre and standard deviation (x, y) in mm of the body between two heights."""
        half = abs(self.z[-1] - self.z[0]) / max(len(self.z) - 1, 1) / 2
        area, x, y, xx, yy = self.sums[:, (self.z >= low - half) & (self.z <= high + half)].sum(axis=1)
        if area == 0:
            return np.full(2, np.nan), np.full(2, np.nan)
        centre = np.array([x, y]) / area
        return centre, np.sqrt(np.maximum(np.array([xx, yy]) / area - centre**2, 1.0))


def best_start(scans: Pair[Coarse], *, scaled: bool = True) -> NDArray[np.float64]:
    """The start (4, 4), fixed to moving LPS points, under which the two look most alike where both show something.

    Tried are all shifts along the body in steps of a voxel; in each the bodies' centres are laid upon each other, with
    (where ``scaled``) and without scaling one's width and depth to the other's.
    """
    starts = _candidates(scans, scaled=scaled)
    differences = side_by_side(lambda start: difference(scans, start), starts)
    return starts[int(np.argmin(differences))]


def difference(scans: Pair[Coarse], matrix: NDArray[np.float64]) -> float:
    """Mean absolute difference in HU where either shows body and both have data; infinite where there is nothing."""
    fixed, moving = scans.fixed, scans.moving
    grid = fixed.image.grid
    # In ITK's hands a volume this small takes five times as long, and the search asks for hundreds.
    voxels = moving.image.grid.inverse_matrix @ matrix @ grid.matrix
    masks = _nearest(moving.in_view.astype(np.uint8) + moving.body, voxels, grid.size)
    valid = (fixed.body | (masks == 2)) & fixed.in_view & (masks > 0)
    if not valid.any():
        return float("inf")
    moved = resampled(torch.from_numpy(np.ascontiguousarray(moving.image.array))[None, None], voxels, grid.size)[0]
    return float(np.abs(fixed.image.array - moved)[valid].mean())


def _nearest(volume: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Values of ``volume`` in the voxel nearest to where ``matrix`` (4, 4) takes each voxel of a grid of ``size``; beyond, 0."""
    voxels = np.ogrid[: size[0], : size[1], : size[2]]
    index = []
    for (*row, shift), length in zip(matrix[:3], volume.shape, strict=True):
        # Between parallel axes the other two do not matter, and the indices stay one line each.
        place = shift + sum(row[axis] * voxels[axis] for axis in np.flatnonzero(row))
        index.append(np.clip(np.floor(place + 0.5) + 1, 0, length + 1).astype(np.intp))
    values: NDArray[np.uint8] = np.pad(volume, 1)[tuple(index)]
    return values


def _candidates(scans: Pair[Coarse], *, scaled: bool) -> list[NDArray[np.float64]]:
    a, b = _profile(scans.fixed), _profile(scans.moving)
    shortest = min(a.z[-1] - a.z[0], b.z[-1] - b.z[0])
    shared = _MIN_SHARED_LENGTH * shortest
    step = scans.fixed.image.grid.spacing[2]
    candidates = []
    for shift in np.arange(b.z[0] - a.z[-1] + shared, b.z[-1] - a.z[0] - shared + step / 2, step):
        low, high = max(a.z[0], b.z[0] - shift), min(a.z[-1], b.z[-1] - shift)
        (centre_a, size_a), (centre_b, size_b) = a.moments(low, high), b.moments(low + shift, high + shift)
        for scale in (np.ones(2), np.clip(size_b / size_a, *_SCALES))[: 2 if scaled else 1]:
            start = np.diag([*scale, 1.0, 1.0])
            start[:3, 3] = [*(centre_b - scale * centre_a), shift]
            if np.isfinite(start).all():
                candidates.append(start)
    # Where no body is found at any shift, the middles of the volumes are all there is to go by.
    middle = np.eye(4)
    middle[:3, 3] = scans.moving.image.grid.centre - scans.fixed.image.grid.centre
    return [middle, *candidates]


def _profile(scan: Coarse) -> _Profile:
    grid = scan.image.grid
    x, y, z = (grid.origin[axis] + grid.spacing[axis] * np.arange(grid.size[axis]) for axis in range(3))
    body = scan.body.astype(np.float64)
    across, along = body.sum(axis=1), body.sum(axis=0)
    sums = np.stack([body.sum(axis=(0, 1)), x @ across, y @ along, x**2 @ across, y**2 @ along])
    return _Profile(sums, z)
