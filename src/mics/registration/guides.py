"""What leads the refinement besides images and organ maps: given labels, landmarks, and what keeps its shape."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mics.image.grid import Grid, apply_matrix
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.points import Points
from mics.image.resample import resample
from mics.registration.bones import bone_mask
from mics.registration.inputs import Scan
from mics.registration.network_grid import divided, samples_along
from mics.registration.pair import Pair

_ORGAN = 0.3
"""Probability of all organs together from which on a voxel is no bone."""
REACH_MM = 24.0
"""How far from a label's border it is still known how far that is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Guides:
    """Guides of the moving scan, then of the fixed one, on the grid of the views or in its voxels.

    ``labels`` (2, labels, X, Y, Z): mm outside of each label's border, negative within, at most :data:`REACH_MM` either way.
    ``points`` (2, 3, N, 1, 1): places of the landmarks. ``rigid`` (2, 1, X, Y, Z): in [0, 1], what keeps its shape.
    """

    labels: Tensor | None = None
    points: Tensor | None = None
    rigid: Tensor | None = None


def label_distances(labels: Image | None, ids: tuple[int, ...], grid: Grid, matrix: NDArray[np.float64]) -> Tensor:
    """Signed distance in mm to the border of each label, (1, labels, X, Y, Z) float32, on ``grid``; negative within.

    ``matrix`` (4, 4) maps points of ``grid`` to those of ``labels``. The map is looked at about every 2 mm, and what is found
    there averaged.
    """
    assert labels is not None  # of a Steering, both label maps hold its labels
    samples = samples_along(grid)
    fine = divided(grid, samples)
    found = resample(labels, fine, matrix, nearest=True, outside=0).array
    margin = [int(np.ceil(REACH_MM / spacing)) for spacing in fine.spacing]
    distances = torch.full((1, len(ids), *grid.size), REACH_MM, dtype=torch.float32)
    for place, label in enumerate(ids):
        own = found == label
        boxes = ndimage.find_objects(own.view(np.uint8))
        if not boxes:
            continue
        # Whole voxels of the grid, so that what is averaged there lies in the box.
        box = [
            (max(part.start - more, 0) // samples, -(-min(part.stop + more, length) // samples))
            for part, more, length in zip(boxes[0], margin, own.shape, strict=True)
        ]
        part = own[tuple(slice(first * samples, end * samples) for first, end in box)]
        # A border runs between voxel centres, half a voxel from either.
        signed = _to_border(~part, fine) - _to_border(part, fine)
        within = torch.from_numpy(np.clip(signed, -REACH_MM, REACH_MM).astype(np.float32))[None, None]
        x, y, z = (slice(first, end) for first, end in box)
        distances[0, place, x, y, z] = torch.nn.functional.avg_pool3d(within, samples)[0, 0]
    return distances


def _to_border(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """mm from each voxel of ``mask`` to its border; 0 beyond it."""
    if mask.all():
        return np.full(mask.shape, REACH_MM)
    to_centre: NDArray[np.float64] = ndimage.distance_transform_edt(mask, grid.spacing)
    return np.where(mask, to_centre - min(grid.spacing) / 2, 0)


def landmark_places(
    landmarks: Pair[Points], grid: Grid, to_scans: Pair[NDArray[np.float64]]
) -> Pair[NDArray[np.float64]]:
    """Voxels of ``grid``, (N, 3) each, at which the landmarks of both scans lie; ``to_scans`` takes its points there, (4, 4)."""
    return Pair(
        fixed=_places(landmarks.fixed, grid, to_scans.fixed), moving=_places(landmarks.moving, grid, to_scans.moving)
    )


def _places(points: Points, grid: Grid, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return grid.world_to_voxel(apply_matrix(np.linalg.inv(matrix), points.coordinates))


def stiff_map(scan: Scan, organs: Tensor, grid: Grid, matrix: NDArray[np.float64], *, lesions: bool) -> Tensor:
    """How much of each voxel of ``grid`` keeps its shape, (1, 1, X, Y, Z) in [0, 1]: bone and, where asked, lesions.

    ``organs`` (1, organs, X, Y, Z) are the scan's soft maps on ``grid``; ``matrix`` (4, 4) maps its points to those of the scan.
    """
    samples = samples_along(grid)
    fine = divided(grid, samples)
    hu = resample(scan.image, fine, matrix, outside=AIR_HU).array
    found = (organs[0].sum(dim=0) > _ORGAN).cpu().numpy()
    blocked = found.repeat(samples, 0).repeat(samples, 1).repeat(samples, 2)
    stiff = bone_mask(hu, fine.spacing[0], blocked)
    if lesions and scan.lesions is not None:
        stiff |= resample(scan.lesions, fine, matrix, nearest=True, outside=0).array > 0
    return torch.nn.functional.avg_pool3d(torch.from_numpy(stiff.astype(np.float32))[None, None], samples)
