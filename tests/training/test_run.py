"""A training run: a model that comes out, resuming, fine-tuning, and what is refused."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mics.errors import InputError
from mics.network.segmentation import MonaiSegmentation
from mics.network.weights import load_model
from mics.training.cache import CachedCase, write_case
from mics.training.recipe import Recipe, load_recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.deformation.field import warp
from mics.evaluation.metrics import dice, sd_log_jacobian
from mics.organs import ORGAN_NAMES
from mics.training.registration import MEASURED, RegistrationTraining
from mics.training.run import train
from mics.training.samples import AllSamples, collate

Recipes = Callable[..., Recipe]


def curve(run: Path, column: str) -> list[float]:
    """A column of the curves of a run, over all its parts in order."""
    values = []
    for part in sorted(run.glob("curves/version_*/metrics.csv")):
        with part.open() as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


@pytest.mark.nightly
@pytest.mark.parametrize("task", ["registration", "segmentation"])
def test_resumed_run_equals_one_never_stopped(task: str, recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    changes = {"task": task, "preset": "small" if task == "registration" else "organs-small", "decay": True}
    changes["augmentation"] = {"probability": 0.5, "elastic": 0.5, "mirror_one_probability": 0.5, "noise": 5}
    changes["crop"] = (12, 16, 14)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe(**changes), cases, whole, progress=False)
    # The schedule is that of the whole run, so the first part is the whole run's recipe cut after one epoch.
    train(recipe(**changes, stop_after_epochs=1), cases, parts, progress=False)
    train(recipe(**changes), cases, parts, resume=True, progress=False)
    column = "train/loss" if task == "registration" else "train/dice_loss"
    assert curve(parts, column) == pytest.approx(curve(whole, column), abs=1e-6)
    assert len(curve(whole, column)) == 2


def test_every_nth_epoch_and_the_last_are_validated_and_any_epoch_is_gone_on_from(
    recipe: Recipes, cases: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = recipe(epochs=5, iterations_per_epoch=1, validate_every=2)
    train(settings, cases, whole, progress=False)
    train(settings.model_copy(update={"stop_after_epochs": 3}), cases, parts, progress=False)
    train(settings, cases, parts, resume=True, progress=False)
    # After the second, the fourth and the last; a run that ends early has its last one too.
    assert len(curve(whole, "val/loss")) == 3
    assert len(curve(parts, "val/loss")) == 4
    assert curve(parts, "train/loss") == pytest.approx(curve(whole, "train/loss"), abs=1e-6)
    assert len(curve(whole, "train/loss")) == 5
    assert load_model(whole).card.best_epoch == (1, 3, 4)[int(np.argmin(curve(whole, "val/loss")))]


def test_a_validation_pair_is_measured_both_ways_by_one_prediction(
    recipe: Recipes, make_case: Callable[..., CachedCase]
) -> None:
    """The means are those of both orders of the pair, each asked about by itself."""
    module = RegistrationTraining(recipe())
    cases = [make_case(str(i), i, "val") for i in range(2)]
    together, apart = (dict.fromkeys(MEASURED, 0.0) for _ in range(2))
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        module.validation_step(collate([AllSamples(cases, 2)[0]]), 0)
        together |= module.averages.means(module.averages.sums)
        for order in (cases, cases[::-1]):
            batch = collate([AllSamples(order, 2)[0]])
            loss, _, prediction = module.loss(batch)
            field = prediction.displacement_ab[..., :16, :16, :16]
            moved = (
                warp(batch["labels"][:, 0], field, mode="nearest", padding="zeros")[0, 0].numpy().round().astype(int)
            )
            moving, fixed = batch["labels"][0, :, 0].numpy()
            overlaps = dice(fixed, moved, ORGAN_NAMES, moving_labels=moving)
            apart["val/loss"] += float(loss) / 2
            apart["val/dice"] += float(np.mean(list(overlaps.values()))) / 2
            apart["val/sd_log_jacobian"] += sd_log_jacobian(field[0].numpy()) / 2
    for name in ("val/loss", "val/dice", "val/sd_log_jacobian"):
        assert together[name] == pytest.approx(apart[name], rel=1e-4)
    assert together["val/sd_log_jacobian"] > 0.01


def test_training_lowers_the_loss_and_exports_the_best_epoch(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    settings = recipe(epochs=8, iterations_per_epoch=4, learning_rate=3e-3, losses={"inverse": 0.1})
    path = train(settings, cases, tmp_path / "run", progress=False)
    losses = curve(tmp_path / "run", "val/loss")
    assert min(losses[1:]) < losses[0]
    model = load_model(tmp_path / "run")
    assert model.card.best_epoch == int(np.argmin(losses))
    assert path == tmp_path / "run" / "model.safetensors"
    assert (model.spacing_mm, model.steps) == (settings.spacing_mm, settings.steps)


@pytest.mark.nightly
def test_the_papers_segmentation_network_trains_by_the_same_means(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    shipped = load_recipe("segmentation", ["crop=[16,16,16]", "batch_size=2", "workers=0", "learning_rate=1.0e-3"])
    assert load_recipe("segmentation").crop == (144, 144, 144)
    settings = shipped.model_copy(update={"epochs": 2, "iterations_per_epoch": 2, "precision": "float32"})
    model = load_model(train(settings, cases, tmp_path / "run", progress=False))
    assert isinstance(model.network, MonaiSegmentation)
    losses = curve(tmp_path / "run", "train/dice_loss")
    assert losses[-1] < losses[0]
    assert curve(tmp_path / "run", "val/dice_06")


def test_fine_tuning_starts_from_the_given_model(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    first = train(recipe(), cases, tmp_path / "first", progress=False)
    train(recipe(learning_rate=1e-12), cases, tmp_path / "second", initial=first, progress=False)
    before, after = load_model(first).network.state_dict(), load_model(tmp_path / "second").network.state_dict()
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6)


def test_every_epoch_is_kept_to_go_on_from_though_it_is_not_the_best(
    recipe: Recipes, cases: Path, tmp_path: Path
) -> None:
    """With steps too small for a weight to change, no epoch is better than the first."""
    train(recipe(epochs=3, learning_rate=1e-30), cases, tmp_path / "run", progress=False)
    epochs = {
        name: torch.load(tmp_path / "run" / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")
    }
    assert epochs == {"best": 0, "last": 2}


def test_each_term_is_logged_by_step_and_direction(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), cases, tmp_path / "run", progress=False)
    for name in ("similarity", "segmentation", "gradient", "jacobian", "inverse"):
        (whole,) = curve(tmp_path / "run", f"train/{name}")
        parts = [curve(tmp_path / "run", f"train/{name}_{step}_{way}")[0] for step in (1, 2) for way in ("ab", "ba")]
        assert sum(parts) == pytest.approx(whole, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("task", ["registration", "segmentation"])
def test_a_loss_that_is_no_number_stops_the_run_and_says_where(
    task: str, recipe: Recipes, cases: Path, tmp_path: Path
) -> None:
    """An infinite weight in the network: its loss is NaN in the second epoch, after a good checkpoint."""
    settings = recipe(task=task, preset="small" if task == "registration" else "organs-small", epochs=1)
    model = train(settings, cases, tmp_path / "good", progress=False)
    good = (tmp_path / "good" / "last.ckpt").read_bytes()
    checkpoint = torch.load(tmp_path / "good" / "last.ckpt", weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(float("inf"))
    torch.save(checkpoint, tmp_path / "good" / "last.ckpt")
    broken = (tmp_path / "good" / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match=r"step 2 with subject\d.*(gradient_1_ab|dice_loss)"):
        train(settings.model_copy(update={"epochs": 2}), cases, tmp_path / "good", resume=True, progress=False)
    assert (tmp_path / "good" / "last.ckpt").read_bytes() == broken != good
    load_model(model)


def test_tensorboard_shows_what_the_csv_holds(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe(), cases, tmp_path / "run", progress=False)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "version_0")).Reload()
    for name in ("train/loss", "val/loss", "val/dice", "val/dice_06", "val/sd_log_jacobian", "val/inverse_error_mm"):
        values = [event.value for event in events.Scalars(name)]
        assert values == pytest.approx(curve(tmp_path / "run", name), rel=1e-5)
        assert len(values) == 2


def test_two_accumulated_iterations_are_one_of_twice_the_batch(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    together = recipe(epochs=1, iterations_per_epoch=1, batch_size=2)
    accumulated = recipe(epochs=1, iterations_per_epoch=2, batch_size=1, accumulate=2)
    for name, settings in (("together", together), ("accumulated", accumulated)):
        train(settings, cases, tmp_path / name, progress=False)
    ends = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("together", "accumulated")]
    assert [end["global_step"] for end in ends] == [1, 1]
    first, second = (torch.cat([weight.flatten() for weight in end["state_dict"].values()]) for end in ends)
    # Adam's first step is as long as the learning rate whatever the gradient; where that is rounding, so is the sign.
    assert ((first - second).abs() < 1e-5).float().mean() > 0.98


def test_an_existing_run_is_not_overwritten(recipe: Recipes, cases: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), cases, tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="by `resume"):
        train(recipe(epochs=1), cases, tmp_path / "run", progress=False)


def test_no_validation_case_is_an_input_error(
    recipe: Recipes, make_case: Callable[..., CachedCase], tmp_path: Path
) -> None:
    write_case(make_case("a", 0), tmp_path)
    with pytest.raises(InputError, match="val"):
        train(recipe(), tmp_path, tmp_path / "run", progress=False)


@pytest.mark.nightly
def test_training_runs_where_no_medical_library_is_installed() -> None:
    code = "import sys, mics.training.run; print({'SimpleITK', 'nibabel', 'ants', 'monai'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
