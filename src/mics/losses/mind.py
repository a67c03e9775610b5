"""Self-similarity descriptors: what a place looks like by how its neighbours resemble one another, whatever the contrast."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from mics.losses.correlation import box_mean

_FACES = tuple((axis, sign) for axis in range(3) for sign in (-1, 1))
_PAIRS = tuple((first, second) for first, second in combinations(_FACES, 2) if first[0] != second[0])
_FLOOR = 1e-4
"""Least variance, (0.01 of the window)²: noise in flat regions does not count as structure."""


def mind_ssc(volume: Tensor, *, width: int = 3) -> Tensor:
    """MIND-SSC descriptors: channel n is ``exp(-(D_n - min D) / V)``.

    D_n is the mean squared difference, in cubes, of two of the six neighbours that share an edge of the cross, and V the mean
    over the twelve. At the border the volume is continued by its last voxels.

    Args:
        volume: ``(B, 1, X, Y, Z)`` in [0, 1].
        width: Edge of the cubes, in voxels, odd.

    Returns:
        ``(B, 12, X, Y, Z)`` in (0, 1].

    References:
        Heinrich et al. 2013, "Towards realtime multimodal fusion for image-guided interventions using self-similarities".
    """
    reach = 1 + width // 2
    padded = functional.pad(volume, (reach,) * 6, mode="replicate")
    shifted = {face: _shift(padded, *face) for face in _FACES}
    differences = torch.cat([(shifted[a] - shifted[b]).square() for a, b in _PAIRS], dim=1)
    distances = box_mean(differences, width)
    distances = distances - distances.amin(dim=1, keepdim=True)
    return torch.exp(-distances / distances.mean(dim=1, keepdim=True).clamp_min(_FLOOR))


def _shift(padded: Tensor, axis: int, sign: int) -> Tensor:
    """The neighbour of each voxel, one voxel less than ``padded`` on every side."""
    start = [1 + (sign if dim == axis else 0) for dim in range(3)]
    x, y, z = (slice(first, first + n - 2) for first, n in zip(start, padded.shape[2:], strict=True))
    return padded[:, :, x, y, z]
