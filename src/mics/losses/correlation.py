"""Local normalised cross-correlation, the similarity of test-time refinement."""

import torch
from torch import Tensor
from torch.nn import functional

# Added to the variances and the covariance alike, (0.01 of the window)²: noise in flat regions does not count as structure
# there, and equal volumes still have a correlation of exactly one, the largest there is.
_FLOOR = 1e-4


class LocalNCC:
    """One minus the squared local correlation coefficient with a target that stays the same.

    Args:
        target: ``(B, 1, X, Y, Z)`` in [0, 1].
        width: Edge of the cubes in which statistics are taken, in voxels, odd; they lie within the volume.

    References:
        Avants et al. 2008, "Symmetric diffeomorphic image registration with cross-correlation", Medical Image Analysis 12.
    """

    def __init__(self, target: Tensor, *, width: int = 5) -> None:
        self.width = width
        self.margin = width // 2
        self.target = target - 0.5
        mean, square = box_mean(torch.cat([self.target, self.target.square()], dim=1), width).split(1, dim=1)
        self.mean, self.variance = mean, (square - mean * mean).clamp_min(0) + _FLOOR

    def loss(self, warped: Tensor, mask: Tensor) -> Tensor:
        """How unlike the target a volume is.

        Args:
            warped: ``(B, 1, X, Y, Z)`` in [0, 1].
            mask: ``(B, 1, X, Y, Z)``, by how much each voxel counts.

        Returns:
            A scalar in [0, 1], the mean over the mask; 0 where every cube is the target's up to brightness and contrast.
        """
        x = warped - 0.5
        products = box_mean(torch.cat([x, x * x, x * self.target], dim=1), self.width)
        mean, square, common = products.split(1, dim=1)
        covariance = common - mean * self.mean + _FLOOR
        variance = (square - mean * mean).clamp_min(0) + _FLOOR
        correlation = covariance.square() / (variance * self.variance)
        counted = self.inner(mask)
        loss: Tensor = ((1 - correlation) * counted).sum() / counted.sum().clamp_min(1)
        return loss

    def inner(self, volume: Tensor) -> Tensor:
        """The voxels whose cube lies within the volume.

        Args:
            volume: ``(B, C, X, Y, Z)``.

        Returns:
            The same without ``margin`` voxels at each border.
        """
        x, y, z = (slice(self.margin, n - self.margin) for n in volume.shape[2:])
        return volume[:, :, x, y, z]


def box_mean(volume: Tensor, width: int) -> Tensor:
    """Mean over all cubes that lie within a volume.

    Args:
        volume: ``(B, C, X, Y, Z)``.
        width: Edge of the cubes, in voxels.

    Returns:
        ``(B, C, X - width + 1, Y - width + 1, Z - width + 1)``.
    """
    mean: Tensor = _BoxSum.apply(volume, width) / width**3  # type: ignore[no-untyped-call]
    return mean


class _BoxSum(torch.autograd.Function):
    """Sums over cubes, by three passes of shifted additions: several times as fast as pooling on a CPU."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, volume: Tensor, width: int) -> Tensor:
        ctx.width = width  # type: ignore[attr-defined]
        return _box_sum(volume, width)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        width: int = ctx.width  # type: ignore[attr-defined]
        return _box_sum(functional.pad(gradient, (width - 1,) * 6), width), None


def _box_sum(volume: Tensor, width: int) -> Tensor:
    for axis in (2, 3, 4):
        length = volume.shape[axis] - width + 1
        total = volume.narrow(axis, 0, length) + volume.narrow(axis, 1, length)
        for shift in range(2, width):
            total += volume.narrow(axis, shift, length)
        volume = total
    return volume
