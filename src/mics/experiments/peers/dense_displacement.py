"""Probabilistic dense displacement, searched for in planes (Heinrich and Hansen 2020), on MIND instead of learnt features."""

import math
import time
from functools import reduce
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.bidirectional import of_spacing
from mics.deformation.field import downsample, identity, resize_displacement, voxel_ratio
from mics.experiments.peers.frames import after_prealignment, prealigned
from mics.experiments.peers.outcome import Displacement, Matrix, Outcome
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.losses.correlation import box_mean
from mics.losses.mind import mind_ssc

_FEATURE_MM, _CONTROL_MM = 4.0, 12.0
"""Voxels of the features, and between control points."""
_STEP, _STEPS_EACH_WAY = 2, 7
"""Displacements that are looked at along an axis of a plane: 15, two voxels of the features apart, up to 56 mm."""
SHARPNESS = 20.0
"""Of the softmax over the displacements, whose costs are sums over the twelve channels of MIND."""


def register(fixed: Image, moving: Image, affine: Matrix) -> Outcome:
    """The method's inference, once for each direction: it is not symmetric.

    The authors learn the features (OBELISK) and the weights of the costs on the scans without labels, and fit a spline to the
    probabilities at the end; here the features are MIND, the weights are one, and the expected displacement is taken as it is.

    Args:
        fixed: The scan that stays.
        moving: The other one.
        affine: LPS points of the fixed scan to the moving one, (4, 4).

    Returns:
        Both directions.

    References:
        Heinrich, Hansen 2020, "Highly accurate and memory efficient unsupervised learning-based discrete CT registration using
        2.5D displacement search", MICCAI.
    """
    start = time.perf_counter()
    forward = _one_way(fixed, moving, affine)
    backward = _one_way(moving, fixed, np.linalg.inv(affine).astype(np.float64))
    return Outcome(forward, backward, time.perf_counter() - start)


@torch.no_grad()
def _one_way(fixed: Image, moving: Image, affine: Matrix) -> Displacement:
    shape, control = (of_spacing(fixed.grid, spacing_mm).size for spacing_mm in (_FEATURE_MM, _CONTROL_MM))
    features = (_features(volume, shape) for volume in (fixed, prealigned(fixed, moving, affine)))
    dense = resize_displacement(expected_displacement(*features, control=control), fixed.grid.size)[0].numpy()
    return after_prealignment(dense, fixed.grid, moving.grid, affine)


def _features(volume: Image, shape: tuple[int, int, int]) -> Tensor:
    """MIND of the abdominal window, ``(1, 12, *shape)``."""
    window = hu_windows(torch.from_numpy(volume.array.astype(np.float32))[None, None])[:, :1]
    return mind_ssc(downsample(window, shape))


def expected_displacement(fixed: Tensor, moving: Tensor, *, control: tuple[int, int, int]) -> Tensor:
    """The displacement that is expected at every control point, by searching in three planes, twice.

    A plane has two of the three axes. What the first pass finds along the third axis is where the second one searches, so that
    no more than 3 · 15² displacements are looked at instead of 15³.

    Args:
        fixed: Features ``(1, C, X, Y, Z)``.
        moving: Likewise, on the same grid.
        control: Control points along each axis, of which the outermost lie on the outermost voxel centres.

    Returns:
        ``(1, 3, *control)`` in control points: the fixed features at x look like the moving ones at ``x + displacement(x)``.
    """
    ratio = voxel_ratio(control, fixed.shape[2:])
    places = (identity(control) * ratio)[0].flatten(1).round()
    extents = tuple(fixed.shape[2:])
    # A row a voxel, so that what is looked up lies together.
    target, source = (features[0].flatten(1).T.contiguous() for features in (fixed, moving))
    x, y, z = (_rows(places, axis, extents) for axis in range(3))
    wanted = target.index_select(0, x + y + z)
    steps = torch.arange(-_STEPS_EACH_WAY, _STEPS_EACH_WAY + 1) * _STEP
    found = torch.zeros_like(places)
    for _ in range(2):
        estimates: list[list[Tensor]] = [[], [], []]
        for plane in combinations(range(3), 2):
            looked_at = [
                [_rows(places + shift, axis, extents) for shift in (steps if axis in plane else [found])]
                for axis in range(3)
            ]
            costs = [(source.index_select(0, x + y + z) - wanted).square().sum(1) for x, y, z in product(*looked_at)]
            volume = torch.stack(costs).view(len(steps), len(steps), *control)
            probabilities = marginal_probabilities(volume).flatten(2)
            for axis, other in zip(plane, (1, 0), strict=True):
                estimates[axis].append(torch.tensordot(steps.float(), probabilities.sum(other), dims=1))
        found = torch.stack([(first + second) / 2 for first, second in estimates])
    return found.view(1, 3, *control) / ratio


def _rows(places: Tensor, axis: int, extents: tuple[int, ...]) -> Tensor:
    """What the voxels nearest to ``places`` ``(3, N)`` add along an axis to their row's number, beyond the border those at it."""
    return places[axis].round().long().clamp(0, extents[axis] - 1) * math.prod(extents[axis + 1 :])


def marginal_probabilities(costs: Tensor) -> Tensor:
    """How likely each displacement of a plane is at every control point, given its neighbours: two iterations of mean field.

    Args:
        costs: ``(S, S, x, y, z)``.

    Returns:
        Likewise; the sum over both displacements is one.
    """
    messages = _mean_field(costs + _mean_field(costs))
    return (-SHARPNESS * messages).flatten(0, 1).softmax(0).view(costs.shape)


def _mean_field(costs: Tensor) -> Tensor:
    """What neighbours say: the least costs of near displacements (an approximate min-convolution), averaged over the grid."""
    beyond = torch.arange(-2, len(costs) + 2).clamp(0, len(costs) - 1)
    near = costs[beyond][:, beyond]
    for axis in (0, 1):
        near = reduce(torch.minimum, _neighbours(near, axis))
    for axis in (0, 1):
        near = reduce(torch.add, _neighbours(near, axis)) / 3
    around = functional.pad(near.flatten(0, 1)[None], (2,) * 6, mode="replicate")
    return box_mean(box_mean(around, 3), 3).view(costs.shape)


def _neighbours(costs: Tensor, axis: int) -> list[Tensor]:
    """Each place's one before, itself and the one after, where it has both."""
    return [costs.narrow(axis, first, costs.shape[axis] - 2) for first in range(3)]
