"""The order of the samples, worker processes, and what cannot be batched."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mics.errors import InputError
from mics.training.cache import CachedCase, read_cases
from mics.training.recipe import Recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.datamodule import Cases, EpochSampler

MakeCase = Callable[..., CachedCase]
Recipes = Callable[..., Recipe]


def test_epochs_go_on_counting() -> None:
    sampler = EpochSampler(3)
    sampler.set_epoch(2)
    assert list(sampler) == [6, 7, 8]


def test_devices_share_the_indices_of_an_epoch() -> None:
    seen = []
    for rank in range(2):
        sampler = EpochSampler(6, devices=2, rank=rank)
        sampler.set_epoch(1)
        assert len(list(sampler)) == len(sampler) == 3
        seen += list(sampler)
    assert sorted(seen) == [6, 7, 8, 9, 10, 11]


def test_batches_are_the_same_for_any_number_of_workers(cases: Path, recipe: Recipes) -> None:
    def batches(workers: int) -> Iterator[dict[str, torch.Tensor]]:
        augmentation = {"probability": 0.7, "elastic": 1, "noise": 5, "mirror_one_probability": 0.5}
        settings = recipe(workers=workers, batch_size=2, crop=(8, 9, 10), augmentation=augmentation)
        module = Cases(read_cases(cases), settings)
        return (module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader())

    pairs = list(zip(batches(0), batches(2), strict=True))
    assert len(pairs) == 2
    for alone, helped in pairs:
        for key in alone:
            assert torch.equal(alone[key], helped[key])


def test_who_annotates_no_organ_is_registered_but_not_segmented(make_case: MakeCase, recipe: Recipes) -> None:
    cases = [make_case("a", 0), make_case("b", 1, organs=()), make_case("c", 2, "val"), make_case("d", 3, "val")]
    assert [case.name for case in Cases(cases, recipe()).training] == ["a", "b"]
    segmentation = recipe(task="segmentation", preset="organs-small")
    assert [case.name for case in Cases(cases, segmentation).training] == ["a"]


def test_validation_takes_whole_volumes_with_all_organs(cases: Path, recipe: Recipes) -> None:
    settings = recipe(crop=(8, 8, 8), supervised_organs=(), augmentation={"probability": 1, "elastic": 3})
    read = read_cases(cases)
    module = Cases(read, settings)
    batch = module.on_after_batch_transfer(next(iter(module.val_dataloader())), 0)
    for place in (0, 1):
        np.testing.assert_array_equal(batch["hu"][0, place, 0], read[place].hu)
        np.testing.assert_array_equal(batch["labels"][0, place, 0], read[place].labels)


def test_a_pair_needs_two_subjects(make_case: MakeCase, recipe: Recipes) -> None:
    with pytest.raises(InputError, match=r"two subjects.*'val'"):
        Cases([make_case("a", 0), make_case("b", 1), make_case("c", 2, "val")], recipe())
    Cases([make_case("a", 0), make_case("c", 2, "val")], recipe(task="segmentation", preset="organs-small"))


def test_volumes_of_different_size_need_a_crop_that_fits_all(make_case: MakeCase, recipe: Recipes) -> None:
    def sized(name: str, length: int, split: str) -> CachedCase:
        blank = np.zeros((length, 8, 8), np.int16)
        return CachedCase(name, split, blank, blank.astype(np.uint8))

    unlike = [sized("a", 8, "train"), sized("b", 9, "train"), sized("c", 8, "val"), sized("d", 8, "val")]
    with pytest.raises(InputError, match="a and b"):
        Cases(unlike, recipe())
    Cases(unlike, recipe(crop=(8, 99, 99)))
    with pytest.raises(InputError, match="val cases c and e"):
        Cases([*unlike, sized("e", 7, "val")], recipe(crop=(8, 8, 8)))
