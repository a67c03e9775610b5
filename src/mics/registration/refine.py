"""Test-time refinement: a stationary velocity field fitted to the pair itself, from the network's prediction.

One velocity v gives both directions, exp(v) and exp(-v), so they are inverse to each other and free of folds up to
interpolation, and swapping the volumes negates v. The networks' weights are not touched.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.field import downsample, exponentiate, logarithm, resize_displacement, sample
from mics.deformation.inverse import correct_inverse_consistency
from mics.losses.mind import mind_ssc
from mics.losses.overlap import bray_curtis_loss, expected_precision
from mics.losses.similarities import SIMILARITIES
from mics.network.blocks import to_channels_last
from mics.registration.descent import Descent
from mics.registration.guide_terms import GuideTerms
from mics.registration.guides import Guides
from mics.registration.refine_settings import Level, RefineSettings
from mics.registration.voxel_subset import VoxelBox, VoxelSubset

_MIN_VISIBLE = 0.1
"""Probability of an organ, or brightness in the window, from which on there is something to see."""
_MARGIN = 2
"""Voxels around it."""
_MIN_OF_ORGANS = 0.02
"""Probability of an organ from which on a voxel is one of the organs'."""
_MIN_VOXELS = 5
"""A cube of the local correlation; what is thinner is compared over the whole axis."""


@dataclass(frozen=True, eq=False)
class PairVolumes:
    """What is compared of a pair, A then B, on one grid of ``spacing_mm``; ``masks`` tell where each has data."""

    windows: Tensor
    organs: Tensor
    descriptors: Tensor | None
    masks: Tensor
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the grid."""
        return tuple(self.windows.shape[2:])

    def coarser(self, wanted_mm: float) -> list[int]:
        """Extent of a grid with the same corners and about the wanted spacing, never finer than the given grid."""
        ratio = max(wanted_mm / self.spacing_mm, 1.0)
        return [max(round((n - 1) / ratio) + 1, 4) for n in self.shape]

    def finer(self, wanted_mm: float) -> list[int]:
        """Extent of a grid with the same corners and about the wanted spacing, which may be finer."""
        ratio = self.spacing_mm / wanted_mm
        return [round((n - 1) * ratio) + 1 for n in self.shape]


class PairData:
    """Both volumes of a pair at the resolutions of one level."""

    def __init__(self, pair: PairVolumes, level: Level, similarity: str) -> None:
        image_grid, organ_grid = pair.coarser(level.image_mm), pair.coarser(level.organs_mm)
        # Merely sampled, what is finer than the grid would be compared as noise, in which a hair decides where things go.
        image = downsample(pair.windows, image_grid)
        self.image_box = _shown(image)
        self.similarity = SIMILARITIES.find(similarity)(self.image_box.of(image).flip(0))
        # Only cubes count that lie within what both volumes show: half of a cube out of view would pass for an edge.
        margin = self.similarity.margin
        within = _eroded(_whole(pair.masks, image_grid), margin)
        self.image = torch.cat([image, within], dim=1)
        maps = downsample(pair.organs, organ_grid)
        # A small organ is lost on a coarse grid, and on a fine one the whole box would cost more than all the rest.
        found = maps.amax((0, 1)) > _MIN_OF_ORGANS
        self.compared = VoxelSubset.where(found) if level.organs_alone and found.any() else _shown(maps)
        self.organ_count = maps.shape[1]
        # An organ that the segmentation network guesses at in either volume would be pulled to the wrong place.
        self.organ_weights = expected_precision(maps).prod(dim=0, keepdim=True).square()
        features = [maps]
        if pair.descriptors is not None:
            features.append(downsample(pair.descriptors, organ_grid))
        self.features = to_channels_last(torch.cat([*features, _whole(pair.masks, organ_grid)], dim=1))
        self.wanted = self.compared.of(self.features[:, :-1]).flip(0)


def refine(
    a: Tensor,
    b: Tensor,
    organs_a: Tensor,
    organs_b: Tensor,
    displacement_ab: Tensor,
    displacement_ba: Tensor,
    *,
    spacing_mm: float,
    valid: Tensor | None = None,
    guides: Guides | None = None,
    settings: RefineSettings,
) -> tuple[Tensor, Tensor]:
    """Refine both displacements of one pair; returns them as ``(1, 3, X, Y, Z)`` in voxels, inverse to each other.

    The volumes lie on one grid of ``spacing_mm``. ``a`` and ``b`` are one HU window each, ``(1, 1, X, Y, Z)`` in [0, 1];
    ``organs_a`` and ``organs_b`` soft organ maps ``(1, organs, X, Y, Z)``. The start, ``displacement_ab`` (``warp(a,
    displacement_ab)`` looks like b) and ``displacement_ba``, may lie on a coarser grid with the same outermost voxel
    centres; so may the result, on a finer one of ``settings.result_mm``: the finer, the better the inverse
    (:func:`mics.deformation.inverse.correct_inverse_consistency`). ``valid`` ``(2, 1, X, Y, Z)`` marks where a and b have data;
    elsewhere nothing counts. ``guides``: what else leads it, with the weights of ``settings``.
    """
    windows = torch.cat([a, b])
    pair = PairVolumes(
        windows,
        organs=torch.cat([organs_a, organs_b]),
        descriptors=mind_ssc(windows) if settings.descriptors else None,
        masks=torch.ones_like(windows) if valid is None else valid.float(),
        spacing_mm=spacing_mm,
    )
    coarsest = pair.coarser(settings.levels[0].velocity_mm)
    velocity = logarithm(resize_displacement(displacement_ab, coarsest), resize_displacement(displacement_ba, coarsest))
    for level in settings.levels:
        velocity = _fitted(velocity, pair, guides, level, settings)
    with torch.no_grad():
        fine = resize_displacement(velocity, pair.finer(settings.integrated_mm))
        both = exponentiate(torch.cat([fine, -fine]), squarings=settings.squarings)
        result = resize_displacement(both, pair.finer(settings.result_mm))
        return correct_inverse_consistency(result[:1], result[1:])


def _fitted(
    velocity: Tensor, pair: PairVolumes, guides: Guides | None, level: Level, settings: RefineSettings
) -> Tensor:
    """The velocity on the grid of a level, after its descent."""
    grid = pair.coarser(level.velocity_mm)
    velocity = resize_displacement(velocity, grid).detach().requires_grad_(True)
    data = PairData(pair, level, settings.similarity)
    led = None
    if guides is not None:
        led = GuideTerms(
            guides,
            data.features[:, -1:],
            level,
            settings,
            velocity_grid=grid,
            spacing_mm=pair.spacing_mm,
            shape=pair.shape,
        )
    rate = settings.step_mm / level.velocity_mm
    descent = Descent(velocity, rate, level.iterations, still_counts=settings.still_counts)
    for _ in range(level.iterations):
        (gradient,) = torch.autograd.grad(_loss(velocity, data, led, settings), velocity)
        descent.step(velocity, gradient)
        if led is not None:
            with torch.no_grad():
                led.project(velocity)
    return velocity


def _loss(velocity: Tensor, data: PairData, led: GuideTerms | None, settings: RefineSettings) -> Tensor:
    both = exponentiate(torch.cat([velocity, -velocity]), squarings=settings.squarings)
    loss = settings.smoothness * _diffusion(velocity)
    on_features = resize_displacement(both, data.features.shape[2:])
    if settings.image:
        shape = data.image.shape[2:]
        on_image = on_features if shape == data.features.shape[2:] else resize_displacement(both, shape)
        image, valid = _moved(data.image, on_image, data.image_box)
        loss = loss + settings.image * data.similarity.loss(image, valid)
    features, valid = _moved(data.features, on_features, data.compared)
    n = data.organ_count
    # Split, not sliced: the gradient of each slice would be as large as the whole, mostly zeros.
    parts = [n, features.shape[1] - n]
    (maps, descriptors), (wanted_maps, wanted_descriptors) = features.split(parts, 1), data.wanted.split(parts, 1)
    loss = loss + settings.organs * bray_curtis_loss(maps * valid, wanted_maps * valid, data.organ_weights)
    if settings.descriptors:
        difference = ((descriptors - wanted_descriptors).square() * valid).mean(dim=1)
        loss = loss + settings.descriptors * difference.sum() / valid.sum().clamp_min(1)
    return loss if led is None else loss + led.loss(velocity, both, on_features)


def _moved(stack: Tensor, both: Tensor, part: VoxelBox | VoxelSubset) -> tuple[Tensor, Tensor]:
    """In part of the grid: each volume's channels warped onto the other, and where both have data (the last channel says)."""
    moved = sample(stack, part.indices + part.of(both))
    values, valid = moved.split([moved.shape[1] - 1, 1], dim=1)
    return values, valid * part.of(stack[:, -1:]).flip(0)


def _shown(maps: Tensor) -> VoxelBox:
    """Where either volume's window or maps show something, and a margin: beyond, there is nothing to compare."""
    shown = maps.amax((0, 1)) > _MIN_VISIBLE
    bounds = []
    for axis in range(3):
        places = shown.movedim(axis, 0).flatten(1).any(1).nonzero().flatten().tolist()
        low, high = (places[0], places[-1] + 1) if places else (0, shown.shape[axis])
        low, high = max(low - _MARGIN, 0), min(high + _MARGIN, shown.shape[axis])
        bounds.append((low, high) if high - low >= _MIN_VOXELS else (0, shown.shape[axis]))
    axes = (torch.arange(low, high, device=maps.device) for low, high in bounds)
    return VoxelBox(tuple(bounds), torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].float())


def _whole(masks: Tensor, shape: list[int]) -> Tensor:
    """Masks on a coarser grid: what is averaged there lies within them altogether."""
    coarse = downsample(masks, shape)
    return coarse if coarse is masks else (coarse > 0.999).float()


def _eroded(masks: Tensor, margin: int) -> Tensor:
    """Where masks ``(B, 1, X, Y, Z)`` are 1 in the whole cube of ``margin`` voxels around, as far as it lies within the grid."""
    width = 2 * margin + 1
    for extents in ((width, 1, 1), (1, width, 1), (1, 1, width)):
        masks = -functional.max_pool3d(-masks, extents, 1, [extent // 2 for extent in extents])
    return masks


def _diffusion(velocity: Tensor) -> Tensor:
    """Mean squared forward difference of the velocity, voxel per voxel."""
    return torch.stack([velocity.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).sum()
