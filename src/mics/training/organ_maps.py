"""The soft organ maps of a cached case, for a registration network that sees them."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mics.errors import GeometryError
from mics.image.blocks import block_mean
from mics.image.grid import Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.network.precision import half_precision
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel
from mics.organs import ORGAN_NAMES


@torch.no_grad()
def predicted_maps(name: str, image: Image, segmentation: LoadedModel, spacing_mm: float) -> NDArray[np.uint8]:
    """What a segmentation network sees of the scan ``name``: (organs, X, Y, Z) at ``spacing_mm``, 255 for certainty.

    Raises :class:`InputError` where ``spacing_mm`` or the network's spacing is no multiple of the scan's voxel edge.
    """
    hu = block_mean(image.array.astype(np.float32), voxels_per_edge(name, image.grid, segmentation.spacing_mm))
    windows = hu_windows(torch.from_numpy(hu)[None, None], segmentation.hu_range)
    with half_precision(windows.device):
        maps = cast(Segmentation, segmentation.network).organ_maps(windows, segmentation.crop)
    size = [n // voxels_per_edge(name, image.grid, spacing_mm) for n in image.grid.size]
    # Cells, not cell centres, lie upon each other: the cases are averages of blocks.
    how = "area" if spacing_mm >= segmentation.spacing_mm else "trilinear"
    return _stored(functional.interpolate(maps, size, mode=how)[0].numpy())


def label_maps(name: str, labels: Image, spacing_mm: float) -> NDArray[np.uint8]:
    """Each organ's share of every voxel of ``spacing_mm``, (organs, X, Y, Z), 255 for all of it; errors as above."""
    factor = voxels_per_edge(name, labels.grid, spacing_mm)
    return _stored(np.stack([block_mean((labels.array == organ).astype(np.float32), factor) for organ in ORGAN_NAMES]))


def voxels_per_edge(name: str, grid: Grid, spacing_mm: float) -> int:
    """Voxels of the grid of case ``name`` along the edge of one of ``spacing_mm``; InputError where that is no whole number."""
    factor = round(spacing_mm / grid.spacing[0])
    if factor < 1 or any(abs(edge * factor - spacing_mm) > 1e-3 for edge in grid.spacing):
        raise GeometryError(f"Case {name} has {grid.spacing} mm voxels, of which {spacing_mm} mm is no multiple.")
    return factor


def _stored(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(maps * 255).astype(np.uint8)
