"""Training: samples by seed and index, resuming, what is refused, and a model that comes out."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mics.errors import InputError
from mics.network.weights import load_model
from mics.training.cache import CachedCase, block_majority, block_mean, read_cases, write_case
from mics.training.recipe import SHIPPED, Augmentation, Recipe, load_recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.datamodule import AllSamples, EpochSampler, RandomSamples
from mics.training.run import train

SHAPE = (16, 16, 16)


def case(name: str, seed: int, split: str = "train") -> CachedCase:
    """A bright ball somewhere in the volume, organ 6."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, rng.uniform(6, 10, 3), strict=True)))
    labels = np.where(distance < 4, 6, 0).astype(np.uint8)
    return CachedCase(name, split, np.where(labels > 0, 120, -80).astype(np.int16), labels)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    for i in range(4):
        write_case(case(f"person{i}", i, "val" if i < 2 else "train"), folder)
    return folder


def recipe(**changes: object) -> Recipe:
    settings = {
        "task": "registration",
        "preset": "small",
        "epochs": 2,
        "iterations_per_epoch": 2,
        "learning_rate": 1e-3,
    }
    return Recipe.model_validate({**settings, **changes})


def curve(run: Path, column: str) -> list[float]:
    """A column of the curves of a run, over all its parts in order."""
    values = []
    for part in sorted(run.glob("curves/version_*/metrics.csv")):
        with part.open() as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


def test_cache_round_trip(tmp_path: Path) -> None:
    written = case("a", 0)
    write_case(written, tmp_path)
    (read,) = read_cases(tmp_path)
    assert (read.name, read.split) == ("a", "train")
    np.testing.assert_array_equal(read.hu, written.hu)
    np.testing.assert_array_equal(read.labels, written.labels)


def test_blocks_by_hand() -> None:
    volume = np.zeros((2, 2, 5), dtype=np.float32)
    volume[0, 0, 0] = 8
    np.testing.assert_array_equal(block_mean(volume, 2), [[[1, 0]]])
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    labels[0] = 3
    labels[1, 0, 0] = 3
    assert block_majority(labels, 2, 4).tolist() == [[[3]]]


def test_samples_depend_on_seed_and_index_alone(cases: Path) -> None:
    augmented = recipe(augmentation={"probability": 1, "mirror_probability": 0.5, "elastic": 1, "noise": 5})
    people = [case(str(i), i) for i in range(5)]
    first, second = (RandomSamples(people, 2, augmented) for _ in range(2))
    torch.testing.assert_close(first[7]["hu"], second[7]["hu"], rtol=0, atol=0)
    assert not torch.equal(first[7]["hu"], first[8]["hu"])


def test_the_members_of_a_pair_are_different_people() -> None:
    people = [case(str(i), i) for i in range(3)]
    samples = RandomSamples(people, 2, recipe())
    assert all(not torch.equal(samples[i]["labels"][0], samples[i]["labels"][1]) for i in range(20))
    assert len(AllSamples(people, 2)) == 6


def test_mirroring_mirrors_both_members_and_keeps_their_labels() -> None:
    people = [case(str(i), i) for i in range(2)]
    plain = RandomSamples(people, 2, recipe())[3]
    mirrored = RandomSamples(people, 2, recipe(augmentation=Augmentation(mirror_probability=1).model_dump()))[3]
    for key in ("hu", "labels"):
        torch.testing.assert_close(mirrored[key], plain[key].flip(2))


def test_crop_cuts_both_members_at_the_same_place() -> None:
    person = case("a", 0)
    samples = RandomSamples([person, person], 2, recipe(crop=(8, 16, 12)))
    sample = samples[0]
    assert sample["hu"].shape == (2, 1, 8, 16, 12)
    torch.testing.assert_close(sample["hu"][0], sample["hu"][1])


def test_epochs_go_on_counting() -> None:
    sampler = EpochSampler(3)
    sampler.set_epoch(2)
    assert list(sampler) == [6, 7, 8]


@pytest.mark.parametrize("task", ["registration", "segmentation"])
def test_resumed_run_equals_one_never_stopped(task: str, cases: Path, tmp_path: Path) -> None:
    changes = {"task": task, "preset": "small" if task == "registration" else "organs-small", "decay": True}
    changes["augmentation"] = {"probability": 0.5, "elastic": 0.5}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe(**changes), cases, whole, progress=False)
    # The schedule is that of the whole run, so the first part is the whole run's recipe cut after one epoch.
    train(recipe(**changes, stop_after_epochs=1), cases, parts, progress=False)
    train(recipe(**changes), cases, parts, resume=True, progress=False)
    column = "train/loss" if task == "registration" else "train/dice_loss"
    assert curve(parts, column) == pytest.approx(curve(whole, column), abs=1e-6)
    assert len(curve(whole, column)) == 2


def test_training_lowers_the_loss_and_exports_the_best_epoch(cases: Path, tmp_path: Path) -> None:
    settings = recipe(epochs=8, iterations_per_epoch=4, learning_rate=3e-3, losses={"inverse": 0.1})
    path = train(settings, cases, tmp_path / "run", progress=False)
    losses = curve(tmp_path / "run", "val/loss")
    assert min(losses[1:]) < losses[0]
    model = load_model(tmp_path / "run")
    assert model.card["best_epoch"] == int(np.argmin(losses))
    assert path == tmp_path / "run" / "model.safetensors"
    assert (model.spacing_mm, model.steps) == (settings.spacing_mm, settings.steps)


def test_fine_tuning_starts_from_the_given_model(cases: Path, tmp_path: Path) -> None:
    first = train(recipe(), cases, tmp_path / "first", progress=False)
    train(recipe(learning_rate=1e-12), cases, tmp_path / "second", initial=first, progress=False)
    before, after = load_model(first).network.state_dict(), load_model(tmp_path / "second").network.state_dict()
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6)


def test_every_epoch_is_kept_to_go_on_from_though_it_is_not_the_best(cases: Path, tmp_path: Path) -> None:
    """With steps too small for a weight to change, no epoch is better than the first."""
    train(recipe(epochs=3, learning_rate=1e-30), cases, tmp_path / "run", progress=False)
    epochs = {
        name: torch.load(tmp_path / "run" / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")
    }
    assert epochs == {"best": 0, "last": 2}


def test_an_existing_run_is_not_overwritten(cases: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), cases, tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="--resume"):
        train(recipe(epochs=1), cases, tmp_path / "run", progress=False)


def test_no_validation_case_is_an_input_error(tmp_path: Path) -> None:
    write_case(case("a", 0), tmp_path)
    with pytest.raises(InputError, match="val"):
        train(recipe(), tmp_path, tmp_path / "run", progress=False)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path.stem) == Recipe.model_validate(yaml.safe_load(path.read_text()))


def test_overrides_reach_into_sections() -> None:
    changed = load_recipe("mics-small", ["epochs=3", "losses.inverse=2.5"])
    assert (changed.epochs, changed.losses.inverse) == (3, 2.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "epochs"),
        ("losses.invers=1", "inverse"),
        ("epochs=0", "epochs"),
        ("preset=organs-small", "not for registration"),
        ("preset=huge", "paper"),
        ("epochs", "key=value"),
    ],
)
def test_bad_overrides_are_explained(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("mics-small", [override])


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="mics-small"):
        load_recipe("nothing-like-it")
