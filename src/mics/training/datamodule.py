"""Which samples a run sees, in which order, and how they come to the device."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Subset
from torch.utils.data.distributed import DistributedSampler

from mics.errors import GeometryError, InputError
from mics.training.cache import CachedCase, split
from mics.training.recipe import Recipe
from mics.training.samples import AllSamples, RandomSamples, RawSample, Sample, collate, crop_size


class EpochSampler(DistributedSampler[Any]):
    """Indices that go on counting from epoch to epoch, so that no two epochs see the same samples.

    ``length`` indices an epoch over all ``devices``, of which the one with number ``rank`` takes every ``devices``-th.
    Lightning calls ``set_epoch`` at the start of every epoch, after resuming too. ``samples_done`` tells how many of its
    indices of this epoch the device saw before the run was interrupted.
    """

    def __init__(
        self, length: int, *, devices: int = 1, rank: int = 0, samples_done: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(range(length), num_replicas=devices, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.length = length
        self.samples_done = samples_done

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.length
        yield from range(
            first + self.rank + self.samples_done() * self.num_replicas, first + self.length, self.num_replicas
        )


class Cases(lightning.LightningDataModule):
    """The cases of a cache for one recipe.

    Raises :class:`InputError` if a split has too few subjects or volumes that cannot be stacked.
    """

    def __init__(self, cases: Sequence[CachedCase], recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.members = 2 if recipe.task == "registration" else 1
        # A case without annotations can be registered, but adds nothing to a segmentation training.
        self.training = split([case for case in cases if self.members > 1 or case.organs], "train")
        self.validation = split(cases, "val")
        for part in (self.training, self.validation):
            if len(part) < self.members:
                raise InputError(
                    f"Registration needs two subjects in the split {part[0].split!r}; there is {part[0].name}."
                )
        for case in cases:
            if case.maps is None and recipe.organ_maps is not None:
                raise InputError(
                    f"The prepared case {case.name} has no organ maps; prepare the cases for {recipe.preset}."
                )
        if self.members * recipe.batch_size > 1:
            _check_sizes(self.training, recipe.crop)
        if self.members > 1:
            _check_sizes(self.validation, None)

    def train_dataloader(self) -> DataLoader[list[RawSample]]:
        """``iterations_per_epoch`` batches of random samples for each device."""
        devices, rank = self._devices()
        length = self.recipe.iterations_per_epoch * self.recipe.batch_size * devices
        sampler = EpochSampler(length, devices=devices, rank=rank, samples_done=self._samples_done)
        if self.trainer is not None:
            # Lightning tells the epoch only after worker processes have begun to read.
            sampler.set_epoch(self.trainer.current_epoch)
        return DataLoader(
            RandomSamples(self.training, self.members, self.recipe),
            batch_size=self.recipe.batch_size,
            sampler=sampler,
            collate_fn=list,
            num_workers=self.recipe.workers,
            persistent_workers=self.recipe.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _samples_done(self) -> int:
        """Samples of the current epoch that each device had before the checkpoint that the run goes on from."""
        if self.trainer is None:
            return 0
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return batches % self.recipe.iterations_per_epoch * self.recipe.batch_size

    def val_dataloader(self) -> DataLoader[list[RawSample]]:
        """Every validation case or pair, whole, on one of the devices; one too many for that repeats the first."""
        devices, rank = self._devices()
        samples = AllSamples(self.validation, self.members)
        return DataLoader(Subset(samples, range(len(samples))[rank::devices] or [0]), collate_fn=list)

    def _devices(self) -> tuple[int, int]:
        """How many there are, and the number of this process's."""
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def on_after_batch_transfer(self, batch: list[list[RawSample]], dataloader_idx: int) -> Sample:
        """The batch on its device: augmented there, as float32 HU and labels."""
        return collate(batch)


def _check_sizes(cases: Sequence[CachedCase], crop: tuple[int, int, int] | None) -> None:
    first = cases[0]
    for case in cases:
        if crop_size(case.shape, crop) != crop_size(first.shape, crop):
            raise GeometryError(
                f"The {first.split} cases {first.name} and {case.name} have {first.shape} and {case.shape} voxels and do "
                "not fit into one sample; prepare them at one size, or for training set crop to fit into the smaller."
            )
