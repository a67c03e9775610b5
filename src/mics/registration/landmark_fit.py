"""Landmarks met to a tolerance: what a deformation still misses them by is taken out by small flows around them.

Each round interpolates what is missed between the landmarks by Gaussians, first wide ones, then narrow ones, and moves every
place by the flow of that (landmark matching by flows, Joshi and Miller 2000). A flow does not fold, and a round after which the
whole deformation would is halved, and then left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import compose, exponentiate, sample
from mics.deformation.jacobian import jacobian_determinant, nondiffeomorphic_volume

_ROUNDS = ((40.0, 1.0), (24.0, 1.0), (14.0, 0.2), (14.0, 0.2), *((8.0, 0.05),) * 4, *((6.0, 0.02),) * 4)
"""Round by round the Gaussians' standard deviation in mm, and the ridge that is added to the ones on their matrix' diagonal.

Wide ones with much of it never overshoot, and take out what neighbours have in common; narrow ones with little meet each
landmark.
"""
_MIN_J = 0.05
"""What is left of a volume at the least."""
_HALVINGS = 3
_SAFELY = 0.5
"""Of the tolerance: so near they are brought on this grid, as the scans' own grids interpolate it once more."""


@torch.no_grad()
def fit_landmarks(
    *,
    moving_to_fixed: Tensor,
    fixed_to_moving: Tensor,
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    tolerance_mm: float,
) -> tuple[Tensor, Tensor]:
    """Both displacements changed until they take landmarks to their counterparts, as far as nothing folds.

    Args:
        moving_to_fixed: (1, 3, X, Y, Z) in voxels; takes places of the fixed scan to those of the moving one.
        fixed_to_moving: Its inverse, on the same grid.
        fixed: Places of the landmarks (N, 3) in voxels of that grid.
        moving: Their counterparts.
        spacing_mm: Edges of a voxel (3,).
        tolerance_mm: How near the landmarks are to come.

    Returns:
        Both displacements (1, 3, X, Y, Z) in voxels, first that which takes places of the fixed scan to those of the moving one.
    """
    forward, backward = moving_to_fixed.float(), fixed_to_moving.float()
    errors = _errors_mm(forward, backward, fixed=fixed, moving=moving, spacing_mm=spacing_mm)
    limits = [(min(_MIN_J, _min_jacobian(u)), nondiffeomorphic_volume(u)) for u in (forward, backward)]
    for width, ridge in _ROUNDS:
        if errors.max() <= _SAFELY * tolerance_mm:
            break
        # Half of it is made up for at the moving scan's end, half at the fixed one's, so that swapping the scans swaps all.
        left, right = _residual(forward, fixed, moving), _residual(backward, moving, fixed)
        at_moving = _flow(moving - left, left / 2, width, ridge, spacing_mm, forward)
        at_fixed = _flow(fixed - right, right / 2, width, ridge, spacing_mm, forward)
        better = _step(forward, backward, at_moving, at_fixed, limits)
        if better is None:
            continue
        now = _errors_mm(*better, fixed=fixed, moving=moving, spacing_mm=spacing_mm)
        if now.mean() < errors.mean():
            (forward, backward), errors = better, now
    return forward, backward


def _step(
    forward: Tensor, backward: Tensor, at_moving: Tensor, at_fixed: Tensor, limits: Sequence[tuple[float, float]]
) -> tuple[Tensor, Tensor] | None:
    """Both directions after flows at either end, as long ones as fold nothing; None where even short ones fold.

    ``limits``: of either direction the least determinant and the largest volume turned inside out.
    """
    share = 1.0
    for _ in range(_HALVINGS + 1):
        to_moving, from_moving = (exponentiate(sign * share * at_moving, squarings=2) for sign in (1, -1))
        to_fixed, from_fixed = (exponentiate(sign * share * at_fixed, squarings=2) for sign in (1, -1))
        # x goes back along the flow at the fixed end, there, and on along the flow at the moving end.
        new_forward = compose(compose(from_fixed, forward), to_moving)
        new_backward = compose(compose(from_moving, backward), to_fixed)
        directions = zip((new_forward, new_backward), limits, strict=True)
        if all(_min_jacobian(u) >= least and nondiffeomorphic_volume(u) <= turned for u, (least, turned) in directions):
            return new_forward, new_backward
        share /= 2
    return None


def _residual(displacement: Tensor, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is missing, (N, 3) voxels, from where ``displacement`` takes the starts to the ends."""
    places = torch.from_numpy(starts.astype(np.float32).T[None, ..., None, None]).to(displacement.device)
    moved = sample(displacement, places)[0, :, :, 0, 0].T.cpu().numpy()
    return np.asarray(ends - starts - moved)


def _flow(
    places: NDArray[np.float64],
    vectors: NDArray[np.float64],
    width_mm: float,
    ridge: float,
    spacing_mm: NDArray[np.float64],
    like: Tensor,
) -> Tensor:
    """A velocity (1, 3, X, Y, Z) in voxels with about these ``vectors`` at these ``places``, of Gaussians of ``width_mm``."""
    scaled = places * spacing_mm / width_mm
    kernel = np.exp(-((scaled[:, None] - scaled[None]) ** 2).sum(axis=-1) / 2)
    strengths = np.linalg.solve(kernel + ridge * np.eye(len(places)), vectors)
    centres, weights = (torch.from_numpy(part.astype(np.float32)).to(like.device) for part in (scaled, strengths))
    axes = [torch.arange(length, dtype=torch.float32, device=like.device) for length in like.shape[2:]]
    # A Gaussian is a product of one along each axis.
    x, y, z = (
        torch.exp(-((axis * (float(edge) / width_mm) - centre[:, None]) ** 2) / 2)
        for axis, edge, centre in zip(axes, spacing_mm, centres.T, strict=True)
    )
    return torch.einsum("nc,nx,ny,nz->cxyz", weights, x, y, z)[None]


def _min_jacobian(displacement: Tensor) -> float:
    return float(jacobian_determinant(displacement).min())


def _errors_mm(
    forward: Tensor,
    backward: Tensor,
    *,
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """By how many mm each landmark is missed, (N,), by the worse of both directions."""
    directions = ((forward, fixed, moving), (backward, moving, fixed))
    lengths = [np.linalg.norm(_residual(*direction) * spacing_mm, axis=1) for direction in directions]
    return np.asarray(np.maximum(*lengths))
