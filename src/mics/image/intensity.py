"""Hounsfield units to what the networks see: three fixed windows, each scaled to [0, 1]."""

import torch
from torch import Tensor

WINDOWS: dict[str, tuple[float, float]] = {"abdomen": (400, 40), "lung": (1400, -500), "bone": (1000, 400)}
"""Width and level of each window in HU, in the order of the channels (MICS, section 4.1)."""


def hu_windows(hu: Tensor, hu_range: tuple[float, float] | None = None) -> Tensor:
    """The three windows of a CT volume, scaled by fixed bounds and never by the volume's own extrema.

    ``hu`` is ``(B, 1, X, Y, Z)``; the result ``(B, 3, X, Y, Z)`` float32 in [0, 1], one channel a window of
    :data:`WINDOWS`. ``hu_range`` is the range of HU that a model saw in training: values beyond it are clipped to it
    first, so that a scan with the full range does not show the model what it never learnt.
    """
    hu = hu.float()
    if hu_range is not None:
        hu = hu.clamp(*hu_range)
    return torch.cat([((hu - (level - width / 2)) / width).clamp(0, 1) for width, level in WINDOWS.values()], dim=1)
