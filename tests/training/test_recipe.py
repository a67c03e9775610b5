"""Recipes: the shipped ones, overrides, and what is refused."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from mics.data.settings_file import parse_yaml
from mics.errors import InputError
from mics.losses.total import FORMS, PAPER_WEIGHTS
from mics.network.kinds import build
from mics.network.presets import preset
from mics.network.weights import BUNDLED_MODELS
from mics.training.recipe import BUNDLED_RECIPES, Augmentation, Recipe, load_recipe


@pytest.mark.parametrize("path", sorted(BUNDLED_RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
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
        ("loss_forms.inverse=metres", "distance_mm"),
        ("loss_forms.similarity=l1", "segmentation, gradient, inverse"),
        ("validate_every=0", "validate_every"),
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=true", "setting epochs: Input should not be true or false"),
        ("learning_rate=yes", "setting learning_rate: Input should not be true or false"),
        ("losses.inverse=on", "setting losses: Input should not be true or false"),
        ("augmentation.noise=true", r"setting augmentation\.noise: Input should not be true or false"),
        ("learning_rate=1e300", "setting learning_rate: Input should be less than or equal to 1000"),
        ("hu_range=[300, -100]", "setting hu_range: Input should be a lower and a higher value"),
        ("hu_range=[0, 0]", "setting hu_range: Input should be a lower and a higher value"),
    ],
)
def test_values_that_would_train_something_else_are_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("mics-small", [override])


def test_blanks_around_names_and_numbers_in_any_writing_are_taken() -> None:
    recipe = load_recipe("mics-small", [" epochs = 7", "augmentation . noise=3", "learning_rate=1e-4", "decay=yes"])
    assert (recipe.epochs, recipe.augmentation.noise, recipe.learning_rate, recipe.decay) == (7, 3.0, 1e-4, True)


def test_a_setting_that_a_file_has_twice_is_refused_and_a_merged_one_is_not(tmp_path: Path) -> None:
    text = (BUNDLED_RECIPES / "mics-small.yaml").read_text(encoding="utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(text + "epochs: 3\n")
    with pytest.raises(InputError, match="epochs stands there twice"):
        load_recipe(path)
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


@pytest.mark.parametrize("number", ["010", "-07", "1:30", "1:30.5"])
def test_a_number_that_means_two_things_is_refused(tmp_path: Path, number: str) -> None:
    """YAML 1.1 reads 010 as 8 and 1:30 as 90, 1.2 as 10 and as a word."""
    path = tmp_path / "own.yaml"
    path.write_text(f"epochs: {number}\n")
    with pytest.raises(InputError, match=f"{number} is .* to some programs"):
        load_recipe(path)


def test_other_numbers_are_what_they_were() -> None:
    assert parse_yaml("[0, 10, -7, 0x10, 0.5, 00.5, 1.0e-3, '010']") == [0, 10, -7, 16, 0.5, 0.5, 1e-3, "010"]


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
        assert recipe.loss_forms == {"segmentation": "squared", "gradient": "l1", "inverse": "squared_unit"}
        assert recipe.augmentation == Augmentation()
        assert not recipe.decay
    assert (pretraining.epochs, fine_tuning.epochs) == (100, 300)
    assert pretraining.iterations_per_epoch * batch == 760
    assert fine_tuning.iterations_per_epoch * batch == 20
    assert pretraining.supervised_organs == tuple(range(1, 12))
    assert fine_tuning.supervised_organs is None


def test_the_papers_network_is_a_cumulative_sum_and_nothing_beside() -> None:
    with torch.device("meta"):
        networks = {name: build(preset(name)) for name in ("paper", "paper-stem", "paper-line-mean")}
    assert {preset(name).anchor for name in ("paper", "paper-stem")} == {"first_voxel"}
    assert not any("offset" in name for one in ("paper", "paper-stem") for name in networks[one].state_dict())
    assert "offset_head.weight" in networks["paper-line-mean"].state_dict()
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert counts["paper"] == 19_131_392
    assert (counts["paper-stem"], counts["paper-line-mean"]) == (19_269_632, 19_132_928)  # as docs/paper.md prints them


@pytest.mark.parametrize("path", sorted(BUNDLED_MODELS.glob("*.json")), ids=lambda path: path.stem)
def test_a_recipe_in_an_old_card_keeps_its_meaning(path: Path) -> None:
    """Shipped cards were written before there were forms of the losses: their losses are the first forms, the old ones."""
    written = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    assert "loss_forms" not in written
    recipe = Recipe.model_validate(written)
    assert recipe.loss_forms == {}
    assert recipe.validate_every == 1
    assert {name: value for name, value in written["losses"].items() if name in FORMS}.items() <= recipe.losses.items()


def test_every_option_that_the_papers_page_names_is_taken() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
    options = re.findall(r"`--set ([\w.]+=[\w.+-]+)`", page)
    assert len(set(options)) >= 9
    for option in options:
        load_recipe("pretrain", [option])
    recipes = re.findall(r"recipe `([\w-]+)`", page)
    assert {"velocity", "segmentation"} <= set(recipes)
    for name in recipes:
        load_recipe(name)
    for forms in FORMS.values():
        assert all(f"`{name}`" in page or f"={name}`" in page for name in forms)
