"""Probabilistic dense displacements on MIND features, an own implementation of the inference of Heinrich and Hansen 2020.

Their networks learn the features; here they are MIND descriptors, as where their weights are not at hand. Every control point
weighs a whole cube of displacements at once, and two rounds of mean-field inference make neighbours agree: a minimum convolution
lets a displacement profit from similar ones, an average over space from the neighbours' (Heinrich 2019, "Closing the gap between
deep and conventional image registration using probabilistic dense displacement networks"). What comes out is the mean
displacement of each point's distribution: it is not limited to steps, and nothing keeps it free of folds.
"""

import math
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.experiments.baselines.frames import after_prealignment, prealigned
from mics.image.io import Image
from mics.losses.mind import mind_ssc

_WINDOW_HU = (-200.0, 300.0)
_STEP_MM = 6.0
"""Of the features, and between two displacements."""
_REACH = 7
"""Steps that a point may go, along each axis, either way."""
_STRIDE = 2
"""Steps from control point to control point."""
_CHUNK = 4096
_ROUNDS = 2
_NEIGHBOURS = 2.0
"""Weight of the neighbours' costs beside a point's own."""
_SHARPNESS = 150.0
"""Of the distributions: what a difference in cost of one is multiplied by."""


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """The displacement of a pair from its affine, forward alone: the method is not symmetric."""
    target, source = (
        torch.from_numpy(one.array.astype(np.float32)) for one in (fixed, prealigned(fixed, moving, affine))
    )
    start = time.perf_counter()
    factors = [max(1, round(_STEP_MM / spacing)) for spacing in fixed.grid.spacing]
    costs = dissimilarity(descriptors(target, factors), descriptors(source, factors))
    steps = expected_displacement(agreed(costs))
    padded = [n * _STRIDE * factor for n, factor in zip(steps.shape[2:], factors, strict=True)]
    fine = functional.interpolate(smooth(steps), size=padded, mode="trilinear", align_corners=False)
    x, y, z = fixed.grid.size
    displacement = fine[0, :, :x, :y, :z].numpy() * np.reshape(factors, (3, 1, 1, 1))
    seconds = time.perf_counter() - start
    return BaselineResult(after_prealignment(displacement, fixed.grid, moving.grid, affine), None, seconds)


def descriptors(hu: Tensor, factors: list[int]) -> Tensor:
    """MIND of a volume (X, Y, Z), averaged over blocks of ``factors`` voxels: (1, 12, X', Y', Z'), a multiple of the stride."""
    low, high = _WINDOW_HU
    volume = ((hu.clamp(low, high) - low) / (high - low))[None, None]
    block = [factor * _STRIDE for factor in factors]
    missing = [-n % edge for n, edge in zip(hu.shape, block, strict=True)]
    padding = [part for end in reversed(missing) for part in (0, end)]
    return functional.avg_pool3d(mind_ssc(functional.pad(volume, padding, mode="replicate")), factors)


def dissimilarity(target: Tensor, source: Tensor) -> Tensor:
    """How unlike the features are at every control point under every displacement.

    Args:
        target: (1, C, X, Y, Z).
        source: Alike.

    Returns:
        (N, N, N, X / stride, Y / stride, Z / stride) with N = 2·reach + 1: mean squared differences over C features.
    """
    lengths = target.shape[2:]
    padded = functional.pad(source, [_REACH] * 6, mode="replicate")
    edge = 2 * _REACH + 1
    costs = target.new_empty(edge, edge, edge, *(n // _STRIDE for n in lengths))
    for i, j, k in np.ndindex(edge, edge, edge):
        x, y, z = (slice(first, first + n) for first, n in zip((i, j, k), lengths, strict=True))
        squares = (target - padded[:, :, x, y, z]).square().mean(dim=1, keepdim=True)
        costs[i, j, k] = functional.avg_pool3d(squares, _STRIDE)[0, 0]
    return costs


def agreed(costs: Tensor) -> Tensor:
    """Costs after the rounds of mean-field inference, of the same shape."""
    found = costs
    for _ in range(_ROUNDS):
        found = costs + _NEIGHBOURS * _over_space(_minimum_convolution(found))
    return found


def _minimum_convolution(costs: Tensor) -> Tensor:
    """Over displacements: the least cost nearby, made round by two means, in place of the distance transform."""
    displacements, points = costs.shape[:3], costs.shape[3:]
    rows = costs.reshape(math.prod(displacements), -1).T.reshape(-1, 1, *displacements)
    least = [_least_nearby(some).flatten(1) for some in rows.split(_CHUNK)]
    return torch.cat(least).T.reshape(*displacements, *points)


def _least_nearby(rows: Tensor) -> Tensor:
    """Of (points, 1, N, N, N). Beyond the largest displacement costs go on as there, so that it does not draw."""
    least = -functional.max_pool3d(-functional.pad(rows, [3] * 6, mode="replicate"), 3, stride=1)
    return functional.avg_pool3d(functional.avg_pool3d(least, 3, stride=1), 3, stride=1)


def _over_space(costs: Tensor) -> Tensor:
    return smooth(costs.reshape(1, -1, *costs.shape[3:])).reshape(costs.shape)


def smooth(values: Tensor) -> Tensor:
    """Two means over 3³ points of (B, C, X, Y, Z)."""
    for _ in range(2):
        values = functional.avg_pool3d(values, 3, stride=1, padding=1, count_include_pad=False)
    return values


def expected_displacement(costs: Tensor) -> Tensor:
    """The mean of each point's distribution over displacements, (1, 3, X, Y, Z) in steps."""
    edge, points = len(costs), costs.shape[3:]
    shares = torch.softmax(-_SHARPNESS * costs.reshape(edge**3, -1), dim=0).reshape(edge, edge, edge, -1)
    along = torch.arange(edge, dtype=costs.dtype) - _REACH
    means = [torch.einsum(f"ijkp,{axis}->p", shares, along) for axis in "ijk"]
    return torch.stack(means).reshape(1, 3, *points)
