"""Bytes of what the stages of a registration hold."""

import math

import torch

from mics.image.grid import Grid
from mics.network.precision import half_precision_pays
from mics.network.weights import LoadedModel

_FEATURE_COPIES = 5
"""Of the finest level's features of either volume that a pass through a network holds at its peak; measured on two cores."""


def volume_mm3(grid: Grid) -> float:
    """What the voxels of ``grid`` fill."""
    return math.prod(map(float, grid.size)) * math.prod(grid.spacing)


def pass_bytes(model: LoadedModel, grid: Grid, device: torch.device) -> float:
    """What a pass of a network over the box of ``grid``, at its own spacing, holds."""
    config = model.network.config
    images = 2 if config.velocity_levels and model.knows_mirrored else 1
    finest = max(config.channels[0] / config.stride**3, config.fine_channels)
    numbers = _FEATURE_COPIES * 2 * images * finest * volume_mm3(grid) / model.spacing_mm**3
    return numbers * (2 if half_precision_pays(device) else 4)
