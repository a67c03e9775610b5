"""Extents that a U-Net can halve."""

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(volume: Tensor, divisor: int) -> Tensor:
    """Pad ``(B, C, X, Y, Z)`` at its high ends with the border value, to multiples of ``divisor`` and at least two."""
    target = [max(-(-n // divisor), 2) * divisor for n in volume.shape[2:]]
    x, y, z = (t - n for t, n in zip(target, volume.shape[2:], strict=True))
    return functional.pad(volume, (0, z, 0, y, 0, x), mode="replicate") if x or y or z else volume
