"""The inverse of a lone transform, found point by point; both directions of a registration are delivered and need none."""

import warnings

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.slabs import each_slab, sampled
from mics.deformation.transform import Transform
from mics.image.grid import Grid, apply_matrix

_ACCURATE_MM = 0.005
_WARNED_MM = 0.1
_COMMON_STEPS, _OWN_STEPS = 30, 30
_FITTED_POINTS = 20_000
_MIN_SHARE = 1 / 64
_STEP_MM = 0.5
"""For differences: less than a voxel."""


def inverted(transform: Transform, grid: Grid) -> Transform:
    """The transform on ``grid`` that undoes ``transform``: for each point y the x with ``x + u(x) = y``.

    Quasi-Newton iteration with the affine that fits ``transform`` best (Chen et al. 2008 take the identity), then, where that
    has not come within 0.005 mm, Newton's with the derivatives at the point, steps halved where they lead away.

    Warns where some point misses by more than 0.1 mm, as where ``transform`` folds: there is no inverse there.
    """
    affine = _best_affine(transform)
    channels = transform.channels()
    displacement = np.empty((*grid.size, 3), dtype=np.float32)
    residuals: list[tuple[int, float]] = []

    def work(part: slice, slab: Grid) -> None:
        wanted = slab.points().reshape(-1, 3).astype(np.float64)
        found, left = _solved(channels, transform.grid, affine, wanted)
        displacement[part] = (found - wanted).reshape(*slab.size, 3)
        residuals.append((int(np.count_nonzero(left > _WARNED_MM)), float(left.max())))

    each_slab(grid, work)
    if count := sum(points for points, _ in residuals):
        warnings.warn(
            f"The transform has no inverse at {count / np.prod(grid.size):.3%} of the points, where it folds: the inverse error "
            f"there is up to {max(largest for _, largest in residuals):.1f} mm.",
            stacklevel=3,
        )
    return Transform(displacement, grid)


def _best_affine(transform: Transform) -> NDArray[np.float64]:
    """(4, 4), by least squares over some of the voxels."""
    step = max(1, round((np.prod(transform.grid.size) / _FITTED_POINTS) ** (1 / 3)))
    some = transform.subsampled((step, step, step))
    points = some.grid.points().reshape(-1, 3).astype(np.float64)
    extended = np.column_stack([points, np.ones(len(points))])
    solution, *_ = np.linalg.lstsq(extended, points + some.displacement_mm.reshape(-1, 3), rcond=None)
    matrix = np.eye(4)
    matrix[:3] = solution.T
    # A transform of few voxels, or that folds throughout, may fit none.
    return matrix if np.linalg.det(matrix[:3, :3]) > 0 else np.eye(4)


def _solved(
    channels: Tensor, grid: Grid, affine: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 3) that the transform takes to ``wanted``, and by how many mm each misses."""

    def missing(points: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
        return of - points - _displacement_at(channels, grid, points)

    linear = np.linalg.inv(affine)[:3, :3]
    found = apply_matrix(np.linalg.inv(affine), wanted)
    miss = missing(found, wanted)
    for _ in range(_COMMON_STEPS):
        if (miss**2).sum(axis=-1).max() < _ACCURATE_MM**2:
            break
        found = found + miss @ linear.T
        miss = missing(found, wanted)
    left = np.linalg.norm(miss, axis=-1)
    for _ in range(_OWN_STEPS):
        rest = np.flatnonzero(left > _ACCURATE_MM)
        if rest.size == 0:
            break
        _newton_step(rest, found, miss, left, wanted, channels, grid)
    return found, left


def _newton_step(
    rest: NDArray[np.intp],
    found: NDArray[np.float64],
    miss: NDArray[np.float64],
    left: NDArray[np.float64],
    wanted: NDArray[np.float64],
    channels: Tensor,
    grid: Grid,
) -> None:
    """One step of Newton's method for the points ``rest``, in place; of each the longest share that brings it nearer."""
    points = found[rest]
    columns = [
        (_displacement_at(channels, grid, points + step) - _displacement_at(channels, grid, points - step))
        / (2 * _STEP_MM)
        for step in _STEP_MM * np.eye(3)
    ]
    jacobian = np.eye(3) + np.stack(columns, axis=-1)
    regular = np.abs(np.linalg.det(jacobian)) > 1e-3
    jacobian[~regular] = np.eye(3)
    full = np.linalg.solve(jacobian, miss[rest][..., None])[..., 0]
    share = 1.0
    while rest.size and share >= _MIN_SHARE:
        tried = found[rest] + share * full
        still = wanted[rest] - tried - _displacement_at(channels, grid, tried)
        distance = np.linalg.norm(still, axis=-1)
        nearer = distance < left[rest]
        chosen = rest[nearer]
        found[chosen], miss[chosen], left[chosen] = tried[nearer], still[nearer], distance[nearer]
        rest, full, share = rest[~nearer], full[~nearer], share / 2


def _displacement_at(channels: Tensor, grid: Grid, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacements in mm, (N, 3), at LPS points."""
    voxels = grid.world_to_voxel(points).T.astype(np.float32).reshape(3, 1, 1, -1)
    return sampled(channels, voxels).reshape(3, -1).T.astype(np.float64)
