"""Models on disk: round trip, checksum, what is refused."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mics.errors import InputError
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.presets import PRESETS, preset
from mics.network.segmentation import OrganSegmentationConfig
from mics.network.weights import (
    BUNDLED_MODELS,
    DEFAULT_REGISTRATION,
    DEFAULT_SEGMENTATION,
    available_models,
    load_initial_weights,
    load_model,
    load_model_for,
    save_model,
)

TINY = MICSConfig(channels=(4, 8))
CARD = {"spacing_mm": 8, "hu_range": [-125, 275], "steps": 2}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_model(build(TINY), CARD, path)
    return path


def test_round_trip_in_half_precision(saved: Path) -> None:
    torch.manual_seed(0)
    expected = build(TINY).state_dict()
    model = load_model(saved)
    assert (model.name, model.spacing_mm, model.hu_range, model.steps) == ("tiny", 8.0, (-125.0, 275.0), 2)
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-6)


def test_a_changed_file_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_model(saved)


def test_a_card_of_another_network_is_refused(saved: Path) -> None:
    card = json.loads(saved.with_suffix(".json").read_text())
    card["network"]["channels"] = [4, 16]
    saved.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="not a model"):
        load_model(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 10**21},
        {"steps": "2"},
        {"spacing_mm": float("nan")},
        {"spacing_mm": -8},
        {"hu_range": 3},
        {"crop": [1, 2]},
        {"network": []},
        {"network": {"task": "registration", "channels": [10**9, 10**9]}},
        {"recipe": {"augmentation": []}},
        {"recipe": {"augmentation": {"mirror_probability": "often"}}},
        {"sha256": None},
    ],
)
def test_a_card_with_other_values_than_a_card_has_is_refused(saved: Path, change: dict[str, object]) -> None:
    path = saved.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="not the card of a model") as message:
        load_model(saved)
    assert str(path) in str(message.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_card_that_is_cut_or_of_another_type_is_refused(saved: Path, content: bytes) -> None:
    saved.with_suffix(".json").write_bytes(content)
    with pytest.raises(InputError, match="not the card of a model"):
        load_model(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(saved: Path, value: float) -> None:
    weights = load_file(saved)
    next(iter(weights.values())).view(-1)[0] = value
    save_file(weights, saved)
    path = saved.with_suffix(".json")
    checksum = hashlib.sha256(saved.read_bytes()).hexdigest()
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": checksum}))
    with pytest.raises(InputError, match="NaN or infinite"):
        load_model(saved)


@pytest.mark.parametrize("value", [float("nan"), 1e5])  # above 65504, half precision knows infinity alone
def test_weights_that_are_no_numbers_in_half_precision_are_not_saved(tmp_path: Path, value: float) -> None:
    network = build(TINY)
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        save_model(network, CARD, tmp_path / "model.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_model_for_another_task_is_refused() -> None:
    assert load_model_for("segmentation", DEFAULT_SEGMENTATION).name == DEFAULT_SEGMENTATION
    with pytest.raises(InputError, match="is for segmentation, not for registration"):
        load_model_for("registration", DEFAULT_SEGMENTATION)


def test_an_unknown_model_names_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="mics-small"):
        load_model("nothing-like-it")


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="paper"):
        preset("huge")


def test_initial_weights_must_fit(saved: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        load_initial_weights(build(PRESETS["small"]), saved)


def test_a_network_with_a_fine_level_starts_as_the_one_without(tmp_path: Path) -> None:
    coarse = build(OrganSegmentationConfig(channels=(4, 8), stride=2, organs=3))
    save_model(coarse, {"spacing_mm": 4.0, "hu_range": None}, tmp_path / "coarse.safetensors")
    grown = build(OrganSegmentationConfig(channels=(4, 8), stride=2, organs=3, fine_channels=2))
    load_initial_weights(grown, tmp_path / "coarse.safetensors")
    windows = torch.rand(1, 3, 13, 10, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grown(windows), coarse(windows), rtol=1e-2, atol=1e-2)  # saved in half precision
    grown(windows).square().mean().backward()
    assert all(p.grad is not None for name, p in grown.named_parameters() if name.startswith("fine.head"))


def test_a_card_of_before_networks_had_kinds_loads(saved: Path) -> None:
    """The settings of all kinds in one, and what the use of the model depends on in the recipe alone."""
    every = {"stride": 1, "in_channels": 3, "decoder_normalisation": True, "anchor": "line_mean", "organs": 13}
    every |= {"velocity_levels": 0, "library": "mics", "fine_channels": 0, "organ_maps": False}
    recipe = {"augmentation": {"mirror_probability": 0.5, "noise": 8.0}, "organs_model": "organs-coarse"}
    path = saved.with_suffix(".json")
    checksum = json.loads(path.read_text())["sha256"]
    old = {"network": {"task": "registration", "channels": [4, 8], **every}, "sha256": checksum}
    path.write_text(json.dumps({**old, "spacing_mm": 8.0, "hu_range": None, "recipe": recipe, "command": "mics train"}))
    model = load_model(saved)
    assert model.card.network == TINY
    assert (model.card.trained_with_flips, model.organs_model, model.steps) == (True, "organs-coarse", 1)
    assert (model.card.inverse_by_construction, model.card.averages_flips) == (False, False)
    assert model.card.model_extra == {"command": "mics train"}
    path.write_text(json.dumps({**old, "network": {**old["network"], "depth": 3}, "spacing_mm": 8.0, "hu_range": None}))
    with pytest.raises(InputError, match=r"not the card of a model.*depth"):
        load_model(saved)


def test_what_a_card_says_itself_counts_before_its_recipe(tmp_path: Path) -> None:
    recipe = {"augmentation": {"mirror_probability": 0.5}, "organs_model": "organs-coarse"}
    card = {
        **CARD,
        "recipe": recipe,
        "trained_with_flips": False,
        "organs_model": "organs-small",
        "limits": "None known.",
    }
    save_model(build(TINY), card, tmp_path / "own.safetensors")
    written = json.loads((tmp_path / "own.json").read_text())
    assert written["network"] == {
        "kind": "mics",
        "channels": [4, 8],
        "stride": 1,
        "in_channels": 3,
        "decoder_normalisation": True,
        "anchor": "line_mean",
        "organ_maps": False,
        "organs": 13,
    }
    assert written["recipe"] == recipe
    assert written["limits"] == "None known."
    model = load_model(tmp_path / "own.safetensors")
    assert (model.card.trained_with_flips, model.organs_model) == (False, "organs-small")


def test_a_card_that_lacks_what_it_must_say_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not right: spacing_mm"):
        save_model(build(TINY), {"hu_range": None}, tmp_path / "own.safetensors")
    assert not any(tmp_path.iterdir())


def test_an_unknown_kind_of_network_names_the_known_ones(saved: Path) -> None:
    path = saved.with_suffix(".json")
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "network": {**card["network"], "kind": "transformer"}}))
    with pytest.raises(
        InputError, match="of the kind 'transformer', only mics, velocity, lapirn, organs, monai; import"
    ):
        load_model(saved)


@pytest.mark.parametrize(
    ("name", "inverse", "flips", "maps", "features"),
    [
        ("mics-velocity", True, True, True, 32),
        ("mics-fast", True, False, True, 32),
        ("mics-small", False, False, True, 4),
        ("organs-small", False, False, False, 16),
    ],
)
def test_shipped_cards_say_what_their_networks_can(
    name: str, inverse: bool, flips: bool, maps: bool, features: float
) -> None:
    card = load_model(name).card
    assert (card.inverse_by_construction, card.averages_flips, card.sees_organ_maps) == (inverse, flips, maps)
    assert card.network.features_per_voxel == features


@pytest.mark.parametrize("name", [model["name"] for model in available_models()])
def test_shipped_models_load_and_say_what_they_are(name: str) -> None:
    model = load_model(name)
    assert all(torch.isfinite(tensor).all() for tensor in model.network.state_dict().values())
    assert "command" in (model.card.model_extra or {})
    card = model.card
    assert all((card.title, card.training_data, card.validation, card.limits, card.licence))
    assert load_model(model.organs_model).card.network.task == "segmentation"


def test_the_default_models_the_papers_form_and_a_fast_one_are_shipped() -> None:
    shipped = {path.stem for path in BUNDLED_MODELS.glob("*.safetensors")}
    assert shipped >= {DEFAULT_REGISTRATION, DEFAULT_SEGMENTATION, "mics-small", "mics-fast"}
