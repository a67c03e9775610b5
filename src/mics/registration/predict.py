"""What the networks make of a pair on their grid: both displacements, refined if wanted."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mics.deformation.field import along_axes, resize
from mics.deformation.inverse import reconcile_bent, reconcile_finer
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.image.resample import resample
from mics.network.displacements import Both, displacements
from mics.network.pair import RegistrationNetwork
from mics.network.precision import half_precision
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel
from mics.registration.network_grid import Samples
from mics.registration.refine import refine
from mics.registration.refine_settings import RefineSettings

_INVERTED_MM = 3.0


@dataclass(frozen=True)
class Pair:
    """Two scans and the network's ``grid`` in the fixed world; ``affine`` maps its points to the moving scan's.

    ``moving_exclude``, ``fixed_exclude``: masks on the scans' grids of what is not compared.
    """

    moving: Image
    fixed: Image
    affine: NDArray[np.float64]
    grid: Grid
    moving_exclude: Image | None = None
    fixed_exclude: Image | None = None


def windows(pair: Pair, models: Sequence[LoadedModel], device: torch.device) -> list[Both]:
    """For each model the HU windows of both scans, (1, 3, X, Y, Z), at its spacing, in the range of HU that it knows."""
    scans = ((pair.moving, pair.affine), (pair.fixed, np.eye(4)))
    samples = [Samples.of(image, pair.grid, matrix) for image, matrix in scans]
    found = []
    for model in models:
        grid = _of_spacing(pair.grid, model.spacing_mm)
        both = []
        for (image, matrix), at_hand in zip(scans, samples, strict=True):
            hu = at_hand.averaged(grid, model.hu_range)
            if hu is None:
                hu = Samples.of(image, grid, matrix).averaged(grid, model.hu_range)
            assert hu is not None
            both.append(hu_windows(hu.to(device), model.hu_range))
        found.append((both[0], both[1]))
    return found


def predict(model: LoadedModel, volumes: Both, organs: Both | None, steps: int) -> Both:
    """Displacements, (1, 3, X, Y, Z) in voxels of about 4 mm, of the registration network in ``steps`` steps.

    ``organs`` are the :func:`organ_maps`, on a grid with the same outermost voxel centres, for a network that sees them.
    Raises InputError where it predicts what is no number.
    """
    network = cast(RegistrationNetwork, model.network).to(volumes[0].device)
    maps = [None, None] if organs is None else [averaged(own, volumes[0].shape[2:]) for own in organs]
    a, b = (network.seen(volume, own) for volume, own in zip(volumes, maps, strict=True))
    found = displacements(model, a, b, steps=steps)
    if not all(bool(field.isfinite().all()) for field in found):
        raise InputError(
            f"The model {model.name} predicts displacements of this pair that are NaN or infinite; give another."
        )
    return found


@torch.no_grad()
def organ_maps(model: LoadedModel, volumes: Both) -> Both:
    """Soft organ maps, (1, organs, X, Y, Z), of the windows at the spacing that ``model`` works at."""
    network = cast(Segmentation, model.network).to(volumes[0].device)
    with half_precision(volumes[0].device):
        return network.organ_maps(volumes[0], model.crop), network.organ_maps(volumes[1], model.crop)


def averaged(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Maps (1, organs, X, Y, Z) on a coarser grid with the same outermost voxel centres, as averages over its voxels."""
    width = round(maps.shape[2] / shape[0])
    weights = (_averages(n, m, width).to(maps.device) for n, m in zip(maps.shape[2:], shape, strict=True))
    return along_axes(maps, *weights)


def _averages(fine: int, coarse: int, width: int) -> Tensor:
    """What each of ``fine`` voxels in a row weighs in each of ``coarse`` that are ``width`` times as large, (coarse, fine)."""
    weights = torch.eye(fine, dtype=torch.float32)[None]
    if width > 1:
        # Two boxes in a row weigh the neighbours 1, 2, 1 for voxels twice as large.
        for padding in (width // 2, (width - 1) // 2):
            weights = functional.avg_pool1d(weights, width, stride=1, padding=padding, count_include_pad=False)
    return functional.interpolate(weights, size=coarse, mode="linear", align_corners=True)[0].T


def compared(pair: Pair, seen: tuple[NDArray[np.bool_], NDArray[np.bool_]], spacing_mm: float) -> Tensor:
    """Where the moving and where the fixed scan have data that count, (2, 1, X, Y, Z) in [0, 1], voxels of ``spacing_mm``.

    ``seen``: voxels (X, Y, Z) of the network's grid that lie in the moving and in the fixed scan's field of view.
    """
    grid = _of_spacing(pair.grid, spacing_mm)
    counted = resize(torch.from_numpy(np.stack(seen)[:, None].astype(np.float32)), grid.size)
    excluded = ((pair.moving_exclude, pair.affine), (pair.fixed_exclude, np.eye(4)))
    for which, (mask, matrix) in enumerate(excluded):
        if mask is not None:
            binary = Image((mask.array > 0).astype(np.float32), mask.grid)
            left_out = resample(binary, grid, matrix, outside=0).array > 0
            counted[which, 0][torch.from_numpy(left_out)] = 0
    return counted


def refuse_nothing_compared(pair: Pair, counted: Tensor, volumes: Both) -> None:
    """Raise InputError where the masks together leave nothing of the patient that can be :func:`compared`.

    ``volumes`` are the :func:`windows`; the abdominal one is 0 where there is air.
    """
    if pair.moving_exclude is None and pair.fixed_exclude is None:
        return
    tissue = (volumes[0][0, 0] > 0) | (volumes[1][0, 0] > 0)
    if not ((counted[:, 0] > 0).all(dim=0) & tissue.cpu()).any():
        raise InputError(
            "The masks of what to leave out cover all that the two scans have in common, so that nothing is left to compare: "
            "mask the lesion alone."
        )


def refined(
    volumes: Both,
    organs: Both,
    counted: Tensor,
    displacements: Both,
    spacing_mm: float,
    settings: RefineSettings,
) -> Both:
    """Displacements after test-time refinement on the abdominal window and the organ maps, where both are :func:`compared`.

    ``volumes``, ``organs`` and ``counted`` have voxels of ``spacing_mm``.
    """
    a, b = (volume[:, :1] for volume in volumes)
    return refine(a, b, *organs, *displacements, spacing_mm=spacing_mm, valid=counted, settings=settings)


def inverted(displacements: Both, grid: Grid) -> Both:
    """Displacements over the box of ``grid`` that are nearly inverse to each other, more so, on a grid of at most about 3 mm."""
    mended = reconcile_bent(*displacements)
    finest = _of_spacing(grid, _INVERTED_MM).size
    return mended if mended[0].shape[2] >= finest[0] else reconcile_finer(*mended, finest)


def same_box(grid: Grid, size: Sequence[int]) -> Grid:
    """The grid of ``size`` voxels with the same outermost voxel centres."""
    x, y, z = size
    extents = [(length - 1) * step for length, step in zip(grid.size, grid.spacing, strict=True)]
    i, j, k = (extent / (length - 1) for extent, length in zip(extents, size, strict=True))
    return dataclasses.replace(grid, size=(x, y, z), spacing=(i, j, k))


def _of_spacing(grid: Grid, spacing_mm: float) -> Grid:
    """A grid with the same outermost voxel centres and a spacing as near to ``spacing_mm`` as that allows."""
    extents = [(length - 1) * step for length, step in zip(grid.size, grid.spacing, strict=True)]
    return same_box(grid, [max(round(extent / spacing_mm), 1) + 1 for extent in extents])
