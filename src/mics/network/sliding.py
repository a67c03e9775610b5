"""A network that was trained on crops, applied to a whole volume: in overlapping windows of the size that it knows."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

_STRIDE = 0.8
"""Distance of neighbouring windows at most, as a share of their extent."""
_TOLERANCE = 1.35
"""A volume larger than a window by no more than this factor is one window along that axis, not two."""


def sliding_windows(function: Callable[[Tensor], Tensor], volume: Tensor, size: Sequence[int] | None) -> Tensor:
    """A function of a volume, averaged over overlapping windows.

    A window counts less towards its borders, where it sees less. Instance normalisation takes its statistics over what it is
    given, so that whole volumes are unlike the crops of the training.

    Args:
        function: Of ``(B, C, X, Y, Z)``; it keeps the spatial shape.
        volume: ``(B, C, X, Y, Z)``.
        size: Extents of a window, in voxels; along an axis on which the volume is about as small, its own. Without it,
            ``function`` gets the whole volume.

    Returns:
        What ``function`` returns, of the volume's spatial shape.
    """
    shape = volume.shape[2:]
    if size is None:
        return function(volume)
    extents = [n if n <= _TOLERANCE * length else length for n, length in zip(shape, size, strict=True)]
    if list(shape) == extents:
        return function(volume)
    weight = torch.ones(1, dtype=torch.float32, device=volume.device)
    for length in extents:
        ramp = torch.arange(1, length + 1, device=volume.device, dtype=torch.float32)
        weight = weight[..., None] * torch.minimum(ramp, ramp.flip(0)) / length
    total: Tensor | None = None
    counted = torch.zeros(shape, dtype=torch.float32, device=volume.device)
    for start in product(*(_starts(n, length) for n, length in zip(shape, extents, strict=True))):
        x, y, z = (slice(first, first + length) for first, length in zip(start, extents, strict=True))
        result = function(volume[:, :, x, y, z])
        if total is None:
            total = result.new_zeros((*result.shape[:2], *shape))
        total[:, :, x, y, z] += result * weight[0]
        counted[x, y, z] += weight[0]
    assert total is not None
    return total / counted


def _starts(length: int, window: int) -> list[int]:
    """Where windows begin: the first at the low end, the last at the high one, evenly in between."""
    count = math.ceil((length - window) / (_STRIDE * window)) + 1
    return [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]
