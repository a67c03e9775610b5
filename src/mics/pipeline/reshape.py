"""One subject's scan and labels in the shape of another, of whom only the labels are known."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.field import exponentiate, identity, logarithm, warp
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.refine import refine
from mics.registration.refine_settings import Level, RefineSettings
from mics.training.organ_maps import label_maps

_FITTED_MM = 4.0

SETTINGS = RefineSettings(
    levels=(Level(16, 8, 16, 50), Level(8, 8, 16, 40), Level(8, 4, 16, 15)),
    image=0.0,
    descriptors=0.0,
    organs=1.0,
    smoothness=0.3,
    still_counts=True,
)
"""Of the refinement: organs alone, whose maps are the truth here, and so may pull harder than predicted ones."""


def fitted_voxels(grid: Grid) -> int:
    """Voxels of ``grid`` along the edge of one that organs are fitted at: of about 4 mm, or the grid's own if they are larger."""
    return max(round(_FITTED_MM / grid.spacing[0]), 1)


def fit(labels: Image, target_labels: Image, organs: tuple[int, ...], share: float = 1.0) -> Tensor:
    """The displacement that brings ``organs`` of ``labels`` onto those of ``target_labels``, ``(1, 3, X, Y, Z)`` in voxels.

    Found by the refinement on the organs' shares of coarser voxels (:func:`fitted_voxels`), from no displacement at all. Of
    that way ``share`` is gone, along its velocity: half of it leads to a shape between the two, a negative share away from
    ``target_labels``. Raises :class:`InputError` where the voxels of the grid are not cubes.
    """
    factor = fitted_voxels(labels.grid)
    spacing_mm = factor * labels.grid.spacing[0]
    a, b = (
        _shares(name, volume, spacing_mm, organs)
        for name, volume in (("labels", labels), ("target_labels", target_labels))
    )
    # Nothing is known of one of the two images, so neither is shown.
    dark, still = torch.zeros_like(a[:, :1]), torch.zeros(1, 3, *a.shape[2:])
    settings = replace(SETTINGS, integrated_mm=spacing_mm, result_mm=spacing_mm)
    forward, backward = refine(dark, dark, a, b, still, still, spacing_mm=spacing_mm, settings=settings)
    if share != 1.0:
        forward = exponentiate(share * logarithm(forward, backward))
    return _on_voxels(forward, factor, labels.grid.size)


def reshaped(image: Image, labels: Image, displacement: Tensor) -> tuple[Image, Image]:
    """Scan (linear, int16) and labels (nearest neighbour, uint8) warped by one displacement as :func:`fit` gives it.

    What comes from beyond the grid is air, as this scan shows it, and no organ.
    """
    # Where a scan was clipped, -1000 HU would be an edge that no scanner made.
    air = float(image.array.min())
    hu = warp(_tensor(image.array) - air, displacement, padding="zeros") + air
    moved = warp(_tensor(labels.array), displacement, mode="nearest", padding="zeros")
    return (
        Image(hu[0, 0].round().numpy().astype(np.int16), image.grid),
        Image(moved[0, 0].numpy().astype(np.uint8), labels.grid),
    )


def _shares(name: str, labels: Image, spacing_mm: float, organs: tuple[int, ...]) -> Tensor:
    maps = label_maps(name, labels, spacing_mm)[[organ - 1 for organ in organs]]
    return torch.from_numpy(maps)[None].float() / 255


def _on_voxels(coarse: Tensor, factor: int, size: tuple[int, int, int]) -> Tensor:
    """The displacement of blocks of ``factor``³ voxels at the voxels themselves, in their units; faces coincide, not centres."""
    voxels = identity(size)
    return factor * warp(coarse, (voxels - (factor - 1) / 2) / factor - voxels)


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))[None, None]
