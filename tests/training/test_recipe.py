"""Recipes: the shipped ones, overrides, and what is refused."""

from pathlib import Path

import pytest
import yaml

from mics.errors import InputError
from mics.losses.total import PAPER_WEIGHTS
from mics.network.presets import preset
from mics.training.recipe import SHIPPED, Augmentation, Recipe, load_recipe


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    if settings.get("precision") == "auto":
        settings["precision"] = load_recipe(path.stem).precision
    assert load_recipe(path.stem) == Recipe.model_validate(settings)


def test_automatic_precision_is_settled_when_the_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("task: registration\npreset: small\nepochs: 1\niterations_per_epoch: 1\nprecision: auto\n")
    assert load_recipe(path).precision in ("bfloat16", "float32")
    assert load_recipe(path, ["precision=bfloat16"]).precision == "bfloat16"
    with pytest.raises(InputError, match="precision"):
        load_recipe(path, ["precision=half"])


def test_overrides_reach_into_sections() -> None:
    changed = load_recipe("mics-small", ["epochs=3", "losses.inverse=2.5", "supervised_organs=[6, 1]"])
    assert (changed.epochs, changed.losses["inverse"], changed.supervised_organs) == (3, 2.5, (6, 1))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "epochs"),
        ("losses.invers=1", "inverse"),
        ("epochs=0", "epochs"),
        ("preset=organs-small", "not for registration"),
        ("preset=huge", "paper"),
        ("epochs", "key=value"),
        ("workers=-1", "workers"),
        ("augmentation.mirror_one_probability=2", "mirror_one_probability"),
        ("supervised_organs=[14]", "supervised_organs"),
    ],
)
def test_bad_overrides_are_explained(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("mics-small", [override])


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="mics-small"):
        load_recipe("nothing-like-it")


@pytest.mark.parametrize(("steps", "batch", "ending"), [(1, 4, "-one-step"), (2, 2, "")])
def test_the_papers_recipes_hold_the_numbers_of_its_section_4(steps: int, batch: int, ending: str) -> None:
    pretraining, fine_tuning = load_recipe(f"pretrain{ending}"), load_recipe(f"finetune{ending}")
    for recipe in (pretraining, fine_tuning):
        assert (recipe.steps, recipe.batch_size, recipe.learning_rate) == (steps, batch, 1e-4)
        assert recipe.crop == (128, 128, 128)
        assert preset(recipe.preset).channels == (64, 128, 256, 512)
        assert recipe.losses == PAPER_WEIGHTS
        assert recipe.augmentation == Augmentation()
        assert not recipe.decay
    assert (pretraining.epochs, fine_tuning.epochs) == (100, 300)
    assert pretraining.iterations_per_epoch * batch == 760
    assert fine_tuning.iterations_per_epoch * batch == 20
    assert pretraining.supervised_organs == tuple(range(1, 12))
    assert fine_tuning.supervised_organs is None
