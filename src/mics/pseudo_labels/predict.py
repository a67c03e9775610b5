"""Where a segmentation network sees the organs of a prepared case."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mics.errors import GeometryError, SettingError
from mics.image.blocks import block_mean
from mics.image.grid import Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel


class PredictedLabels(NamedTuple):
    """``labels`` (X, Y, Z) uint8, the most probable organ of each voxel, and ``probability`` (X, Y, Z) float32, its own."""

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]


@torch.no_grad()
def predict(model: LoadedModel, image: Image, device: torch.device) -> PredictedLabels:
    """Segment a prepared volume (int16 or float32 HU, cubic voxels, LAS) in sliding windows of the training's crop.

    The probabilities at the model's spacing are interpolated to the voxels of ``image`` before the most probable is taken.
    Raises :class:`InputError` for a model that does not segment, or whose spacing is no multiple of the voxel edge.
    """
    network = model.network
    if not isinstance(network, Segmentation):
        raise SettingError(f"{model.name} is a registration model: give one that segments, such as organs-small.")
    factor = blocks(model, image.grid)
    coarse = torch.from_numpy(block_mean(image.array.astype(np.float32), factor))[None, None].to(device)
    windows = hu_windows(coarse, model.hu_range)
    probabilities = network.to(device).probabilities(windows, model.crop)
    # One channel at a time: all of them at 2 mm would take half a gigabyte.
    best = _fine(probabilities[:, :1], factor)
    labels = torch.zeros_like(best, dtype=torch.uint8)
    for organ in range(1, probabilities.shape[1]):
        own = _fine(probabilities[:, organ : organ + 1], factor)
        better = own > best
        labels[better], best = organ, torch.maximum(best, own)
    # Voxels that filled no block, at the high ends.
    missing = [(0, n - m) for n, m in zip(image.array.shape, best.shape, strict=True)]
    return PredictedLabels(np.pad(labels.cpu().numpy(), missing), np.pad(best.cpu().numpy(), missing))


def blocks(model: LoadedModel, grid: Grid) -> int:
    """Voxels of a prepared ``grid`` along the edge of one that the model sees; InputError where that is no whole number."""
    factor = round(model.spacing_mm / grid.spacing[0])
    if factor < 1 or any(abs(edge * factor - model.spacing_mm) > 1e-3 for edge in grid.spacing):
        raise GeometryError(
            f"{model.name} sees voxels of {model.spacing_mm:g} mm, which is no multiple of the prepared "
            f"{grid.spacing[0]:g} mm: prepare the cases at another spacing, or give another model.",
            option="model",
        )
    return factor


def _fine(channel: torch.Tensor, factor: int) -> torch.Tensor:
    """Values of blocks (1, 1, x, y, z), interpolated between the blocks' centres, at the voxels (X, Y, Z)."""
    return functional.interpolate(channel, scale_factor=factor, mode="trilinear", align_corners=False)[0, 0]
