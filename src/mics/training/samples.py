"""From cached cases to a batch: what is read of each (on the CPU, by seed and index), and what the device makes of it."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from mics.deformation.field import warp
from mics.training.acquisition import Acquisition, unseen_as_air
from mics.training.augmentation import Deformation, Intensity, Region, deform, mirror, names, swap_left_right
from mics.training.cache import CachedCase
from mics.training.phases import PhaseChange
from mics.training.recipe import Recipe

Sample = dict[str, Tensor]
"""``hu`` (members, 1, X, Y, Z) float32, ``labels`` likewise, uint8, ``annotated`` (members, organs) bool, ``case`` (members)
int64, the place of each in the list of cases, and ``maps`` (members, organs, X, Y, Z) float32 in [0, 1] where the cases have
them; or a batch of it.

Labels of organs that the sample does not annotate are background.
"""


class AugmentationDraw(NamedTuple):
    """A random deformation, phase, acquisition and intensity of one crop."""

    deformation: Deformation
    phase: PhaseChange | None
    acquisition: Acquisition
    intensity: Intensity
    crop: Region
    region: Region
    """What was read to fill the crop; both in the volume's voxels."""
    spacing_mm: float
    cut_labels: bool
    """Whether nothing is labelled beyond the field of view: what is not seen cannot be segmented, but it can be registered."""

    def apply(self, hu: Tensor, labels: Tensor, maps: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The crop of HU, labels in the file's ids and organ maps, each ``(1, C, X, Y, Z)``, from those of the region."""
        field = self.deformation.displacement(self.crop)
        for axis in range(3):
            field[:, axis] += self.crop.start[axis] - self.region.start[axis]
        hu, labels = deform(hu, labels, field)
        maps = None if maps is None else warp(maps, field, padding="zeros")
        if self.phase is not None:
            hu = self.phase.apply(hu, labels)
        hu = self.intensity.apply(self.acquisition.apply(hu, self.spacing_mm))
        if self.acquisition.view is not None:
            shown = self.acquisition.view.shown(self.crop.start, self.crop.size, hu.device)
            hu = unseen_as_air(hu, shown)
            labels = labels * shown if self.cut_labels else labels
            maps = None if maps is None else maps * shown
        return hu, labels, maps


class RawSample(NamedTuple):
    """What is read of one case, and what is still to be done to it.

    ``hu`` int16, ``labels`` uint8 and ``maps`` (organs, X, Y, Z) uint8 are the crop, or with ``changes`` the region that the
    crop is filled from; ``names`` and ``annotated`` are those of :func:`mics.training.augmentation.names`.
    """

    hu: Tensor
    labels: Tensor
    maps: Tensor | None
    names: Tensor
    annotated: Tensor
    case: Tensor
    """Its place in the list of cases, ()."""
    mirrored: bool = False
    swapped: bool = False
    changes: AugmentationDraw | None = None

    def apply(self) -> Sample:
        """The member as the network's module takes it, computed on the device on which its tensors lie."""
        hu, labels = self.hu.float()[None, None], self.labels[None, None]
        maps = None if self.maps is None else self.maps[None].float() / 255
        if self.changes is not None:
            hu, labels, maps = self.changes.apply(hu, labels, maps)
        labels = self.names[labels.int()]
        if self.mirrored:
            hu, labels = mirror(hu), mirror(labels)
            maps = None if maps is None else mirror(maps)
        sample = {"hu": hu[0], "labels": labels[0], "annotated": self.annotated, "case": self.case}
        if maps is not None:
            sample["maps"] = swap_left_right(maps)[0] if self.swapped else maps[0]
        return sample


def collate(batch: Sequence[Sequence[RawSample]]) -> Sample:
    """A batch of samples, on the device on which they lie."""
    finished: Sample = default_collate([default_collate([member.apply() for member in members]) for members in batch])
    return finished


class RandomSamples(Dataset[list[RawSample]]):
    """Endless random samples of ``members`` different cases (1: segmentation, 2: a pair), each read only where needed.

    A sample is a function of the recipe's seed and the index. The members of a pair are cropped at the same place.
    """

    def __init__(self, cases: Sequence[CachedCase], members: int, recipe: Recipe) -> None:
        self.cases = cases
        self.members = members
        self.recipe = recipe

    def __getitem__(self, index: int) -> list[RawSample]:
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + index)
        chosen = torch.randperm(len(self.cases), generator=generator)[: self.members].tolist()
        settings = self.recipe.augmentation
        together = _happens(settings.mirror_probability, generator)
        alone = _happens(settings.mirror_one_probability, generator)
        which = int(torch.randint(self.members, (), generator=generator))
        corner = torch.rand(3, generator=generator).tolist()
        return [
            self._member(i, corner, generator, flips=together, swaps=alone and nth == which)
            for nth, i in enumerate(chosen)
        ]

    def _member(
        self, place: int, corner: list[float], generator: torch.Generator, *, flips: bool, swaps: bool
    ) -> RawSample:
        case = self.cases[place]
        mirrored = flips != swaps
        table, annotated = names(case.organs, self.recipe.supervised_organs, swapped=swaps)
        crop = _crop(case.shape, self.recipe.crop, corner, mirrored=mirrored)
        settings = self.recipe.augmentation
        region, changes = crop, None
        if _happens(settings.probability, generator):
            deformation = Deformation.random(case.shape, settings, generator)
            intensity = Intensity.random(crop.size, settings, generator)
            # Organ maps are of the phase in which the case was prepared.
            changes_phase = settings.phases and case.maps is None and _happens(settings.phases, generator)
            phase = PhaseChange.random(generator) if changes_phase else None
            acquisition = Acquisition.random(case.shape, crop.size, settings, generator)
            region = deformation.source(crop)
            changes = AugmentationDraw(
                deformation,
                phase,
                acquisition,
                intensity,
                crop,
                region,
                self.recipe.spacing_mm,
                cut_labels=self.members == 1,
            )
        return RawSample(*_read(case, region), table, annotated, torch.tensor(place), mirrored, swaps, changes)


class AllSamples(Dataset[list[RawSample]]):
    """Every case (1 member) or every pair once (2 members), whole and unchanged: one prediction holds both directions."""

    def __init__(self, cases: Sequence[CachedCase], members: int) -> None:
        self.cases = cases
        self.tuples = list(combinations(range(len(cases)), members))

    def __len__(self) -> int:
        return len(self.tuples)

    def __getitem__(self, index: int) -> list[RawSample]:
        return [self._member(place) for place in self.tuples[index]]

    def _member(self, place: int) -> RawSample:
        case = self.cases[place]
        whole = Region((0, 0, 0), case.shape)
        about = names(case.organs, None, swapped=False)
        return RawSample(*_read(case, whole), *about, torch.tensor(place))


def crop_size(shape: tuple[int, int, int], crop: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Size of a crop of a volume: along each axis no larger than the volume."""
    x, y, z = (min(pair) for pair in zip(shape, crop or shape, strict=True))
    return x, y, z


def _crop(
    shape: tuple[int, int, int], crop: tuple[int, int, int] | None, corner: list[float], *, mirrored: bool
) -> Region:
    """The part that lies at ``corner`` (0: low end, 1: high end of each axis), once the volume is mirrored if so."""
    size = crop_size(shape, crop)
    start = [round(place * (n - length)) for place, n, length in zip(corner, shape, size, strict=True)]
    if mirrored:
        start[0] = shape[0] - size[0] - start[0]
    return Region(start, size)


def _read(case: CachedCase, box: Region) -> tuple[Tensor, Tensor, Tensor | None]:
    """Copies of HU, labels and organ maps in the box; nothing else of the files is touched."""
    maps = None if case.maps is None else torch.from_numpy(np.array(case.maps[:, *box.slices]))
    return torch.from_numpy(np.array(case.hu[box.slices])), torch.from_numpy(np.array(case.labels[box.slices])), maps


def _happens(probability: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < probability)
