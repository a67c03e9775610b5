"""Models on disk: round trip, checksum, what is refused."""

import json
from pathlib import Path

import pytest
import torch

from mics.errors import InputError
from mics.network.presets import PRESETS, NetworkConfig, preset
from mics.network.weights import (
    DEFAULT_REGISTRATION,
    DEFAULT_SEGMENTATION,
    SHIPPED,
    available_models,
    build,
    load_initial_weights,
    load_model,
    save_model,
)

TINY = NetworkConfig(task="registration", channels=(4, 8))
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
    coarse = build(NetworkConfig(task="segmentation", channels=(4, 8), stride=2, organs=3))
    save_model(coarse, {"spacing_mm": 4.0, "hu_range": None}, tmp_path / "coarse.safetensors")
    grown = build(NetworkConfig(task="segmentation", channels=(4, 8), stride=2, organs=3, fine_channels=2))
    load_initial_weights(grown, tmp_path / "coarse.safetensors")
    windows = torch.rand(1, 3, 13, 10, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grown(windows), coarse(windows), rtol=1e-2, atol=1e-2)  # saved in half precision
    grown(windows).square().mean().backward()
    assert all(p.grad is not None for name, p in grown.named_parameters() if name.startswith("fine.head"))


@pytest.mark.parametrize("name", [model["name"] for model in available_models()])
def test_shipped_models_load_and_say_what_they_are(name: str) -> None:
    model = load_model(name)
    assert all(torch.isfinite(tensor).all() for tensor in model.network.state_dict().values())
    assert {"training_data", "validation", "limits", "command"} <= model.card.keys()
    assert load_model(model.organs_model).network.config.task == "segmentation"


def test_the_default_models_the_papers_form_and_a_fast_one_are_shipped() -> None:
    shipped = {path.stem for path in SHIPPED.glob("*.safetensors")}
    assert shipped >= {DEFAULT_REGISTRATION, DEFAULT_SEGMENTATION, "mics-small", "mics-fast"}
