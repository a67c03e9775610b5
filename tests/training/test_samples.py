"""Samples: by seed and index alone, of different subjects, read only where needed, mirrored with the right names."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mics.losses.overlap import dice_loss, one_hot
from mics.organs import ORGAN_NAMES
from mics.training.cache import CachedCase, read_cases
from mics.training.recipe import Recipe
from mics.training.samples import AllSamples, RandomSamples, collate

MakeCase = Callable[..., CachedCase]
Recipes = Callable[..., Recipe]
STRONG = {"probability": 1, "rotation_degrees": 20, "scale": 0.15, "shift": 3, "elastic": 1, "mirror_probability": 0.5}


def smooth(name: str, seed: int, shape: tuple[int, int, int] = (26, 20, 22)) -> CachedCase:
    """Smooth HU, with labels where they are high."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    hu = (noise / noise.std() * 200).astype(np.int16)
    return CachedCase(name, "train", hu, np.select([hu > 200, hu > 0], [6, 2]).astype(np.uint8))


def test_samples_depend_on_seed_and_index_alone(make_case: MakeCase, recipe: Recipes) -> None:
    changes = {"crop": (8, 12, 10), "augmentation": {**STRONG, "noise": 5, "mirror_one_probability": 0.5}}
    cases = [make_case(str(i), i) for i in range(5)]
    first, second = (RandomSamples(cases, 2, recipe(**changes)) for _ in range(2))
    first[3], first[4]  # what was read before does not matter
    expected = collate([first[7]])["hu"]
    torch.testing.assert_close(collate([second[7]])["hu"], expected, rtol=0, atol=0)
    assert not torch.equal(collate([first[8]])["hu"], expected)
    assert not torch.equal(collate([RandomSamples(cases, 2, recipe(**changes, seed=1))[7]])["hu"], expected)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), index=st.integers(0, 10**9), subjects=st.integers(2, 9))
def test_the_members_of_a_pair_are_different_subjects(recipe: Recipes, seed: int, index: int, subjects: int) -> None:
    blank = np.zeros((2, 2, 2), np.uint8)
    cases = [CachedCase(str(i), "train", np.full((2, 2, 2), i, np.int16), blank) for i in range(subjects)]
    a, b = RandomSamples(cases, 2, recipe(seed=seed))[index]
    assert int(a.hu.max()) != int(b.hu.max())


def test_every_pair_of_different_subjects_is_validated_once(make_case: MakeCase) -> None:
    cases = [make_case(str(i), i) for i in range(10)]
    pairs = [frozenset(int(member.case) for member in pair) for pair in AllSamples(cases, 2)]
    assert len(pairs) == len(set(pairs)) == 45
    assert all(len(pair) == 2 for pair in pairs)


def test_a_batch_is_float_hu_and_small_integer_labels(make_case: MakeCase, recipe: Recipes) -> None:
    samples = RandomSamples([make_case(str(i), i) for i in range(3)], 2, recipe())
    assert (samples[0][0].hu.dtype, samples[0][0].labels.dtype) == (torch.int16, torch.uint8)
    batch = collate([samples[0], samples[1]])
    assert batch["hu"].shape == batch["labels"].shape == (2, 2, 1, 16, 16, 16)
    assert (batch["hu"].dtype, batch["labels"].dtype) == (torch.float32, torch.uint8)
    assert batch["annotated"].shape == (2, 2, 13)


def test_crop_cuts_both_members_at_the_same_place(recipe: Recipes, make_case: MakeCase) -> None:
    case = make_case("a", 0)
    a, b = RandomSamples([case, case], 2, recipe(crop=(8, 16, 12)))[0]
    assert a.hu.shape == (8, 16, 12)
    torch.testing.assert_close(a.hu, b.hu)


def test_a_volume_smaller_than_the_crop_comes_whole(recipe: Recipes, make_case: MakeCase) -> None:
    (whole,) = RandomSamples([make_case("a", 0)], 1, recipe(crop=(99, 8, 99)))[0]
    assert whole.hu.shape == (16, 8, 16)


@pytest.mark.parametrize("index", range(6))
def test_a_crop_is_that_of_the_whole_volume_changed(index: int, recipe: Recipes) -> None:
    cases = [smooth("a", 0), smooth("b", 1)]
    crop = (10, 9, 11)
    part = RandomSamples(cases, 2, recipe(crop=crop, augmentation=STRONG))[index]
    whole = collate([RandomSamples(cases, 2, recipe(augmentation=STRONG))[index]])
    got = collate([part])
    for place, member in enumerate(part):
        assert member.changes is not None
        start = list(member.changes.crop.start)
        if member.mirrored:
            start[0] = 26 - crop[0] - start[0]
        box = tuple(slice(s, s + n) for s, n in zip(start, crop, strict=True))
        torch.testing.assert_close(got["hu"][0, place, 0], whole["hu"][0, place, 0][box], atol=0.1, rtol=0)
        same = got["labels"][0, place, 0] == whole["labels"][0, place, 0][box]
        assert same.float().mean() > 0.998  # a position half-way between two voxels may round to either


def test_what_lies_beyond_the_region_read_does_not_matter(recipe: Recipes) -> None:
    mild = {"probability": 1, "rotation_degrees": 5, "shift": 1, "elastic": 0.3}
    settings = recipe(crop=(8, 8, 8), augmentation=mild)
    case = smooth("a", 0, (32, 32, 32))
    (member,) = RandomSamples([case], 1, settings)[5]
    assert member.changes is not None
    region = member.changes.region.slices
    assert member.hu.numel() < case.hu.size / 4
    hu, labels = np.full_like(case.hu, 30000), np.full_like(case.labels, 9)
    hu[region], labels[region] = case.hu[region], case.labels[region]
    (other,) = RandomSamples([CachedCase("b", "train", hu, labels)], 1, settings)[5]
    expected, got = collate([[member]]), collate([[other]])
    assert torch.equal(got["hu"], expected["hu"])
    assert torch.equal(got["labels"], expected["labels"])


def test_a_crop_does_not_bring_the_volume_into_memory(recipe: Recipes, tmp_path: Path) -> None:
    shape = (160, 128, 128)
    for kind, dtype in (("hu", np.int16), ("labels", np.uint8)):
        np.lib.format.open_memmap(tmp_path / f"a.{kind}.npy", "w+", dtype, shape)
    (tmp_path / "a.json").write_text(f'{{"split": "train", "organs": [1], "shape": {list(shape)}}}')
    tracemalloc.start()
    (member,) = RandomSamples(read_cases(tmp_path), 1, recipe(crop=(16, 16, 16)))[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert member.hu.shape == (16, 16, 16)
    assert peak < 500_000 < np.prod(shape)


def test_mirroring_mirrors_both_members_and_keeps_their_labels(make_case: MakeCase, recipe: Recipes) -> None:
    cases = [make_case(str(i), i) for i in range(2)]
    plain = collate([RandomSamples(cases, 2, recipe())[3]])
    mirrored = collate([RandomSamples(cases, 2, recipe(augmentation={"mirror_probability": 1}))[3]])
    for key in ("hu", "labels"):
        torch.testing.assert_close(mirrored[key], plain[key].flip(3))


@pytest.mark.parametrize("together", [0, 1])
def test_mirroring_one_mirrors_one_and_swaps_its_left_and_right(
    together: int, make_case: MakeCase, recipe: Recipes
) -> None:
    cases = [make_case(str(i), i) for i in range(2)]
    augmentation = {"mirror_probability": together, "mirror_one_probability": 1}
    plain = RandomSamples(cases, 2, recipe())
    alone = RandomSamples(cases, 2, recipe(augmentation=augmentation))
    which = set()
    for index in range(12):
        before, after = collate([plain[index]]), collate([alone[index]])
        swapped = [place for place in (0, 1) if alone[index][place].mirrored != bool(together)]
        assert len(swapped) == 1
        which.update(swapped)
        for place in (0, 1):
            hu, labels = before["hu"][0, place], before["labels"][0, place].clone()
            if place in swapped:
                right, left = labels == 2, labels == 3
                labels[right], labels[left] = 3, 2
            if (place in swapped) != bool(together):
                hu, labels = hu.flip(1), labels.flip(1)
            torch.testing.assert_close(after["hu"][0, place], hu)
            torch.testing.assert_close(after["labels"][0, place], labels)
    assert which == {0, 1}


def test_organs_that_a_case_does_not_annotate_are_background_and_said_to_be_missing(
    make_case: MakeCase, recipe: Recipes
) -> None:
    case = make_case("a", 0, organs=(6, 11))
    for sample in (RandomSamples([case], 1, recipe())[0], AllSamples([case], 1)[0]):
        batch = collate([sample])
        assert batch["labels"].unique().tolist() == [0, 6]
        assert batch["annotated"][0, 0].nonzero().flatten().tolist() == [5, 10]
    (member,) = RandomSamples([case], 1, recipe(supervised_organs=(2, 11)))[0]
    assert member.annotated.nonzero().flatten().tolist() == [10]
    assert AllSamples([case], 1)[0][0].annotated.sum() == 2


@pytest.mark.parametrize("index", range(4))
def test_organ_maps_move_with_the_labels_and_change_sides_with_their_names(
    index: int, make_case: MakeCase, recipe: Recipes
) -> None:
    """Maps made of the labels still agree with them, whatever was done to the case, except between voxels."""
    cases = [make_case(str(i), i) for i in range(3)]
    cases = [replace(case, maps=255 * np.stack([case.labels == organ for organ in ORGAN_NAMES])) for case in cases]
    cases = [replace(case, maps=case.maps.astype(np.uint8)) for case in cases]
    changes = {"crop": (14, 12, 16), "augmentation": {**STRONG, "mirror_one_probability": 0.5}}
    sample = collate([RandomSamples(cases, 2, recipe(**changes))[index]])
    assert sample["maps"].shape == (1, 2, len(ORGAN_NAMES), 14, 12, 16)
    for member in (0, 1):
        truth = one_hot(sample["labels"][:, member], len(ORGAN_NAMES))
        assert (truth - sample["maps"][:, member]).abs().max() < 1
        assert dice_loss(sample["maps"][:, member], truth, truth.amax((2, 3, 4)) > 0) < 0.5


BEFORE = -265449.58
"""Sum of the HU of one sample, printed by version 0.1.0 before there were phases."""
WHOLE = {"phases": 1, "thick_slices": 0.5, "kernel": 0.5, "dose_noise": 20, "field_of_view": 1}


def test_phases_and_acquisition_follow_from_seed_and_index_too(make_case: MakeCase, recipe: Recipes) -> None:
    changes = {"crop": (8, 12, 10), "augmentation": {**STRONG, **WHOLE}}
    first, second = (RandomSamples([make_case("a", 0)], 1, recipe(**changes)) for _ in range(2))
    first[3]
    for index in range(5):
        for key, value in collate([first[index]]).items():
            torch.testing.assert_close(collate([second[index]])[key], value, rtol=0, atol=0)


def test_samples_without_them_are_as_they_were_before_there_were_any(make_case: MakeCase, recipe: Recipes) -> None:
    """An interrupted run of an older version goes on with the samples that it would have had."""
    sample = collate([RandomSamples([make_case("a", 0)], 1, recipe(augmentation={**STRONG, "noise": 5}))[7]])
    assert float(sample["hu"].double().sum()) == pytest.approx(BEFORE, rel=1e-6)


def test_what_is_beyond_the_field_of_view_is_not_to_be_segmented_but_can_be_registered(
    make_case: MakeCase, recipe: Recipes
) -> None:
    unmoved = {"augmentation": {"probability": 1, "field_of_view": 1}}
    cases = [smooth("a", 0), smooth("b", 1)]
    for index in range(4):
        alone = collate([RandomSamples(cases[:1], 1, recipe(**unmoved))[index]])
        unseen = alone["hu"] == -1000
        assert unseen.any()
        assert (alone["labels"][unseen] == 0).all()
        pair = collate([RandomSamples(cases, 2, recipe(**unmoved))[index]])
        assert (pair["labels"][pair["hu"] == -1000] > 0).any()


def test_a_phase_is_drawn_only_for_a_case_without_organ_maps(make_case: MakeCase, recipe: Recipes) -> None:
    changes = {"augmentation": {"probability": 1, "phases": 1}}
    case = smooth("a", 0)
    with_maps = replace(case, maps=np.zeros((len(ORGAN_NAMES), *case.shape), np.uint8))
    assert RandomSamples([case], 1, recipe(**changes))[0][0].changes.phase is not None
    assert RandomSamples([with_maps], 1, recipe(**changes))[0][0].changes.phase is None
