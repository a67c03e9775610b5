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
    images = 2 if model.card.averages_flips else 1
    features = model.network.config.features_per_voxel
    numbers = _FEATURE_COPIES * 2 * images * features * volume_mm3(grid) / model.spacing_mm**3
    return numbers * (2 if half_precision_pays(device) else 4)
