"""Local normalised cross-correlation, the similarity of test-time refinement."""

import torch
from torch import Tensor
from torch.nn import functional

# Added to the variances and the covariance alike, (0.01 of the window)²: noise in flat regions does not count as structure
# there, and equal volumes still have a correlation of exactly one, the largest there is.
_FLOOR = 1e-4


def local_correlation_loss(warped: Tensor, target: Tensor, mask: Tensor, *, width: int = 5) -> Tensor:
    """One minus the squared local correlation coefficient (Avants et al. 2008), averaged over the voxels of ``mask``.

    ``warped`` and ``target`` are ``(B, 1, X, Y, Z)`` in [0, 1], ``mask`` is ``(B, 1, X, Y, Z)``; statistics are taken in
    cubes of ``width`` voxels. Scalar.
    """
    x, y = warped - 0.5, target - 0.5
    products = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _box_mean(products, width).split(1, dim=1)
    covariance = mean_xy - mean_x * mean_y + _FLOOR
    variance_x = (mean_xx - mean_x * mean_x).clamp_min(0) + _FLOOR
    variance_y = (mean_yy - mean_y * mean_y).clamp_min(0) + _FLOOR
    correlation = covariance.square() / (variance_x * variance_y)
    loss: Tensor = ((1 - correlation) * mask).sum() / mask.sum().clamp_min(1)
    return loss


def _box_mean(volume: Tensor, width: int) -> Tensor:
    for axis in range(3):
        kernel = [1, 1, 1]
        kernel[axis] = width
        padding = [0, 0, 0]
        padding[axis] = width // 2
        volume = functional.avg_pool3d(volume, kernel, stride=1, padding=padding, count_include_pad=False)
    return volume
