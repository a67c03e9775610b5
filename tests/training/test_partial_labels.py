"""Cases that annotate some organs, and recipes that supervise some: the loss says nothing about the others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mics.errors import InputError
from mics.network.config import SegmentationConfig
from mics.training.cache import CachedCase, read_cases
from mics.training.recipe import Recipe
from mics.training.samples import RandomSamples, collate

pytest.importorskip("lightning", reason="training needs the train extra")

from lightning import Trainer

from mics.training.datamodule import Cases
from mics.training.registration import RegistrationTraining
from mics.training.segmentation import SegmentationTraining

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")
MakeCase = Callable[..., CachedCase]
Recipes = Callable[..., Recipe]
EVERY = tuple(range(1, 14))


def without_kidney(case: CachedCase) -> CachedCase:
    labels = case.labels.copy()
    labels[labels == 2] = 0
    return replace(case, labels=labels)


def loss(settings: Recipe, *cases: CachedCase) -> float:
    torch.manual_seed(0)
    module = (RegistrationTraining if settings.task == "registration" else SegmentationTraining)(settings)
    return float(module.training_step(collate([RandomSamples(cases, len(cases), settings)[0]]), 0).detach())


@pytest.mark.parametrize("task", ["registration", "segmentation"])
def test_labels_of_an_organ_that_is_not_annotated_or_not_supervised_change_nothing(
    task: str, make_case: MakeCase, recipe: Recipes
) -> None:
    preset = "small" if task == "registration" else "organs-small"

    def both(organs: tuple[int, ...], supervised: tuple[int, ...] | None) -> tuple[float, float]:
        """The loss with and without the first subject's right kidney in the labels."""
        settings = recipe(task=task, preset=preset, supervised_organs=supervised)
        first, *others = [make_case(str(i), i) for i in range(2 if task == "registration" else 1)]
        first = replace(first, organs=organs)
        return loss(settings, first, *others), loss(settings, without_kidney(first), *others)

    with_kidney, without = both(EVERY, None)
    assert with_kidney != pytest.approx(without, rel=1e-4)
    for organs, supervised in [((3, 6), None), (EVERY, (3, 6)), (EVERY, ())]:
        with_kidney, without = both(organs, supervised)
        assert with_kidney == without


class FixedPrediction(torch.nn.Module):
    """A network that is sure of the labels that it was given."""

    def __init__(self, config: SegmentationConfig, labels: torch.Tensor) -> None:
        super().__init__()
        self.config = config
        self.logits = 100 * torch.nn.functional.one_hot(labels.long(), config.organs + 1).movedim(-1, 1).float()

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_calling_the_whole_background_spleen_costs_something_where_the_spleen_is_annotated(
    make_case: MakeCase, recipe: Recipes
) -> None:
    """The liver and kidneys are perfect and no spleen is shown: what is annotated counts, not what the patch shows."""
    settings = recipe(task="segmentation", preset="organs-small", cross_entropy=0)
    losses = {}
    for organs in (EVERY, (2, 3, 6)):
        sample = collate([RandomSamples([replace(make_case("0", 0), organs=organs)], 1, settings)[0]])
        labels = sample["labels"][:, 0, 0]
        for found, predicted in (("spleen", labels.where(labels > 0, torch.ones_like(labels))), ("right", labels)):
            module = SegmentationTraining(settings)
            module.network = FixedPrediction(module.network.config, predicted)
            losses[organs, found] = float(module.training_step(sample, 0))
    background = int((sample["labels"] == 0).sum())
    assert losses[EVERY, "spleen"] == pytest.approx((1 - 1 / (background + 1)) / 13, rel=1e-3)
    assert losses[EVERY, "right"] == pytest.approx(0, abs=1e-6)
    assert losses[(2, 3, 6), "spleen"] == pytest.approx(0, abs=1e-6)  # nothing is known of the spleen there


def test_registration_without_supervised_organs_has_no_segmentation_loss(make_case: MakeCase, recipe: Recipes) -> None:
    cases = [make_case(str(i), i) for i in range(2)]
    weighed = {"similarity": 0, "gradient": 0, "jacobian": 0, "inverse": 0, "segmentation": 1}
    assert loss(recipe(losses=weighed, supervised_organs=()), *cases) == 0
    assert loss(recipe(losses=weighed, supervised_organs=(6,)), *cases) > 0


def test_segmentation_is_not_told_that_a_missing_organ_is_background(make_case: MakeCase, recipe: Recipes) -> None:
    """Where the labels say background, the network's wish for the missing organ is as good as one for the background."""
    settings = recipe(task="segmentation", preset="organs-small")

    def slope(organs: tuple[int, ...]) -> float:
        """Slope of the loss along more right kidney everywhere, of a network that sees nearly none of any other organ."""
        torch.manual_seed(0)
        module = SegmentationTraining(settings)
        bias = module.network.head.bias
        assert bias is not None
        with torch.no_grad():
            module.network.head.weight.zero_()
            bias.zero_()
            bias[[0, 2]] = 20
        blank = replace(make_case("a", 0), organs=organs)
        blank.labels[:] = 0
        module.training_step(collate([RandomSamples([blank], 1, settings)[0]]), 0).backward()
        assert bias.grad is not None
        return float(bias.grad[2] - bias.grad[0])

    assert slope(EVERY) == pytest.approx(1, abs=1e-3)
    assert slope((3, 6)) == pytest.approx(0, abs=1e-6)


def test_validation_of_registration_measures_all_organs_whatever_is_supervised(cases: Path, recipe: Recipes) -> None:
    def dice(supervised: tuple[int, ...] | None) -> float:
        torch.manual_seed(0)
        settings = recipe(supervised_organs=supervised)
        trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
        module, data = RegistrationTraining(settings), Cases(read_cases(cases), settings)
        (measured,) = trainer.validate(module, datamodule=data, verbose=False)
        return measured["val/dice"]

    assert dice(()) == dice(None) > 0


@pytest.mark.parametrize("task", ["registration", "segmentation"])
def test_validation_cases_without_labels_are_no_part_of_the_dice(
    task: str, cases: Path, make_case: MakeCase, recipe: Recipes
) -> None:
    """As if they were not there: they are neither lost organs nor perfect ones."""
    settings = recipe(task=task, preset="small" if task == "registration" else "organs-small")
    labelled = read_cases(cases)
    blank = [make_case(name, seed, "val") for name, seed in (("y", 8), ("z", 9))]
    for case in blank:
        case.labels[:] = 0

    def measured(cases: list[CachedCase]) -> dict[str, float]:
        torch.manual_seed(0)
        module = (RegistrationTraining if task == "registration" else SegmentationTraining)(settings)
        trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
        (found,) = trainer.validate(module, datamodule=Cases(cases, settings), verbose=False)
        return dict(found)

    alone = measured(labelled)["val/dice"]
    assert 0 < alone < 1
    assert measured([*labelled, *blank])["val/dice"] == pytest.approx(alone)
    only = [*[case for case in labelled if case.split == "train"], *blank]
    if task == "registration":
        assert "val/dice" not in measured(only)
    else:
        with pytest.raises(InputError, match="No case of the validation shows an organ"):
            measured(only)
