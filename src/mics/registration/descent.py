"""Descent whose steps follow the gradient smoothly, so that what differs by rounding stays together.

Adam (Kingma and Ba 2015) divides the gradient at every voxel by its own size there. Where nothing determines the velocity, in air
or flat tissue, a gradient that is hardly more than rounding becomes a step as large as any other; and steps that stay long
jump to and fro across narrow valleys, in which runs part that were together. Here the gradient is divided by its size in the
neighbourhood and overall, so that a difference of gradients changes a step in proportion, and towards the end steps become
shorter.
"""

import torch
from torch import Tensor
from torch.nn import functional

_KEPT, _KEPT_SQUARE = 0.9, 0.999
"""Of the running means of the gradient and of its square, at every step; as in Adam."""
_WIDTH = 3
"""Voxels along an edge of the neighbourhood."""
_OVERALL = 0.5
"""What the gradient's size overall counts beside that in the neighbourhood, as a share of both."""
_EPSILON = 1e-7
"""Added to the root: real gradients are around 1e-5, and where all are smaller by far there is nothing to follow."""
_SHORTER = 0.9
"""By what share of the first one the steps have become shorter after the last."""


class Descent:
    """``steps`` steps for a velocity, the first about ``rate`` voxels where the gradient is as large as around and overall.

    Overall is where there is any; with ``still_counts``, the whole grid.
    """

    def __init__(self, velocity: Tensor, rate: float, steps: int, *, still_counts: bool = False) -> None:
        self.rate, self.steps, self.still_counts = rate, steps, still_counts
        self.taken = 0
        self.mean = torch.zeros_like(velocity, requires_grad=False)
        self.square = torch.zeros_like(self.mean[:, :1])

    @torch.no_grad()
    def step(self, velocity: Tensor, gradient: Tensor) -> None:
        """Change ``velocity`` ``(1, 3, X, Y, Z)``, in place, against its ``gradient``; nothing where that was always zero."""
        rate = self.rate * (1 - _SHORTER * self.taken / self.steps)
        self.taken += 1
        square = gradient.square().mean(dim=1, keepdim=True)
        around = functional.avg_pool3d(square, _WIDTH, 1, _WIDTH // 2, count_include_pad=False)
        self.mean.lerp_(gradient, 1 - _KEPT)
        self.square.lerp_(torch.lerp(around, self._overall(square), _OVERALL), 1 - _KEPT_SQUARE)
        mean, square = self.mean / (1 - _KEPT**self.taken), self.square / (1 - _KEPT_SQUARE**self.taken)
        velocity -= rate * mean / (square.sqrt() + _EPSILON)

    def _overall(self, square: Tensor) -> Tensor:
        """The gradient's mean square, of its ``square`` at every voxel."""
        if self.still_counts:
            return square.mean(dim=(2, 3, 4), keepdim=True)
        # Each voxel's size weighed by itself, so that air around the body, where there is no gradient, changes nothing.
        size = square.sqrt()
        return (square.sum() / size.sum().clamp_min(torch.finfo(size.dtype).tiny)).square()
