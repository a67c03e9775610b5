"""Extents that a U-Net can halve."""

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(volume: Tensor, divisor: int) -> Tensor:
    """Pad a volume at its high ends with the border value.

    Args:
        volume: ``(B, C, X, Y, Z)``.
        divisor: Of the padded extents, which are two times it at the least.

    Returns:
        The padded volume; the same tensor where nothing is missing.
    """
    target = [max(-(-n // divisor), 2) * divisor for n in volume.shape[2:]]
    x, y, z = (t - n for t, n in zip(target, volume.shape[2:], strict=True))
    return functional.pad(volume, (0, z, 0, y, 0, x), mode="replicate") if x or y or z else volume
