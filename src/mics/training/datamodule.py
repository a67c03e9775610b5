"""Random cases and pairs for training, all of them for validation; each sample is a function of (seed, index)."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mics.training.augmentation import deform, mirror, random_deformation, random_intensity
from mics.training.cache import CachedCase, split
from mics.training.recipe import Augmentation, Recipe

Sample = dict[str, Tensor]


class EpochSampler(Sampler[int]):
    """Indices that go on counting from epoch to epoch, so that no two epochs see the same samples."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch, after resuming too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.length, (self.epoch + 1) * self.length))


class RandomSamples(Dataset[Sample]):
    """Endless random samples of ``members`` different cases (1: segmentation, 2: a pair).

    A sample has ``hu`` (members, 1, X, Y, Z) float32 and ``labels`` likewise, int64.
    """

    def __init__(self, cases: Sequence[CachedCase], members: int, recipe: Recipe) -> None:
        self.cases = cases
        self.members = members
        self.recipe = recipe

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + index)
        chosen = torch.randperm(len(self.cases), generator=generator)[: self.members].tolist()
        settings = self.recipe.augmentation
        mirrored = _happens(settings.mirror_probability, generator)
        corner = torch.rand(3, generator=generator)
        members = [self._member(self.cases[i], settings, mirrored, corner, generator) for i in chosen]
        hu, labels = zip(*members, strict=True)
        return {"hu": torch.cat(hu), "labels": torch.cat(labels).long()}

    def _member(
        self, case: CachedCase, settings: Augmentation, mirrored: bool, corner: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        hu, labels = as_tensors(case)
        if _happens(settings.probability, generator):
            shape = (hu.shape[2], hu.shape[3], hu.shape[4])
            field = random_deformation(
                shape,
                generator,
                rotation_degrees=settings.rotation_degrees,
                scale=settings.scale,
                shift=settings.shift,
                elastic=settings.elastic,
            )
            hu, labels = deform(hu, labels, field)
            hu = random_intensity(
                hu, generator, contrast=settings.contrast, brightness=settings.brightness, noise=settings.noise
            )
        if mirrored:
            hu, labels = mirror(hu), mirror(labels)
        if self.recipe.crop is not None:
            hu, labels = (_crop(volume, self.recipe.crop, corner) for volume in (hu, labels))
        return hu, labels


class AllSamples(Dataset[Sample]):
    """Every case (1 member) or every ordered pair (2 members), unchanged."""

    def __init__(self, cases: Sequence[CachedCase], members: int) -> None:
        self.tuples = list(permutations(cases, members))

    def __len__(self) -> int:
        return len(self.tuples)

    def __getitem__(self, index: int) -> Sample:
        members = [as_tensors(case) for case in self.tuples[index]]
        hu, labels = zip(*members, strict=True)
        return {"hu": torch.cat(hu), "labels": torch.cat(labels).long()}


class Cases(lightning.LightningDataModule):
    """The cases of a cache for one recipe."""

    def __init__(self, cases: Sequence[CachedCase], recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.members = 2 if recipe.task == "registration" else 1
        self.training = split(cases, "train")
        self.validation = split(cases, "val")

    def train_dataloader(self) -> DataLoader[Sample]:
        """``iterations_per_epoch`` batches of random samples."""
        length = self.recipe.iterations_per_epoch * self.recipe.batch_size
        samples = RandomSamples(self.training, self.members, self.recipe)
        return DataLoader(samples, batch_size=self.recipe.batch_size, sampler=EpochSampler(length))

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation case or ordered pair, whole."""
        return DataLoader(AllSamples(self.validation, self.members))


def as_tensors(case: CachedCase) -> tuple[Tensor, Tensor]:
    """HU and labels of a case, each ``(1, 1, X, Y, Z)`` float32."""
    return torch.from_numpy(case.hu).float()[None, None], torch.from_numpy(case.labels).float()[None, None]


def _happens(probability: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < probability)


def _crop(volume: Tensor, size: tuple[int, int, int], corner: Tensor) -> Tensor:
    for axis, (length, place) in enumerate(zip(size, corner.tolist(), strict=True), start=2):
        length = min(length, volume.shape[axis])
        volume = volume.narrow(axis, round(place * (volume.shape[axis] - length)), length)
    return volume
