"""Training on a device that is no CPU: nothing mixes the two, and the weights become those that the CPU's become."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs the train extra")

import lightning
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy

from mics.network.mics import MICSConfig
from mics.network.presets import PRESETS
from mics.network.segmentation import OrganSegmentationConfig
from mics.network.velocity import VelocityConfig
from mics.network.weights import load_model
from mics.training import run as training_run
from mics.training.cache import CachedCase, write_case
from mics.training.recipe import Recipe
from mics.training.run import train

Recipes = Callable[..., Recipe]
EVERYTHING = {
    **{"probability": 1, "rotation_degrees": 10, "scale": 0.1, "shift": 1, "elastic": 1, "noise": 5, "phases": 1},
    **{"mirror_probability": 0.5, "mirror_one_probability": 0.5, "thick_slices": 0.9, "kernel": 0.9, "dose_noise": 20},
    **{"contrast": 0.1, "brightness": 10, "field_of_view": 0.9},
}
TINY = {
    "tiny": MICSConfig(channels=(4, 8), stride=2, decoder_normalisation=False),
    "tiny-maps": MICSConfig(channels=(4, 8), organ_maps=True),
    "tiny-velocity": VelocityConfig(channels=(4, 8), decoder_normalisation=False, velocity_levels=2),
    "tiny-organs": OrganSegmentationConfig(channels=(4, 8), stride=2, organs=13),
}
RUNS: dict[str, dict[str, Any]] = {
    "every loss": {
        **{"preset": "tiny", "decay": True},
        "losses": {"ncc_pyramid": 1.0},
        "loss_forms": {"inverse": "distance_mm", "gradient": "l1", "segmentation": "squared"},
    },
    "computed again": {"preset": "tiny-maps", "recompute_activations": True},
    "velocity": {"preset": "tiny-velocity", "steps": 2},
    "segmentation": {"task": "segmentation", "preset": "tiny-organs", "cross_entropy": 1.0},
}


class Elsewhere(CPUAccelerator):
    """Lightning's accelerator for a device that it does not know."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing is to be done."""


@pytest.fixture
def trained(
    monkeypatch: pytest.MonkeyPatch, make_case: Callable[..., CachedCase], tmp_path: Path
) -> Callable[[Recipe, torch.device], dict[str, torch.Tensor]]:
    """`trained(recipe, device)`: the weights of a run there."""
    for name, config in TINY.items():
        monkeypatch.setitem(PRESETS._entries, name, config)
    maps = np.random.default_rng(0).integers(0, 256, (13, 16, 16, 16)).astype(np.uint8)
    for kind, more in (("plain", {}), ("maps", {"maps": maps})):
        (tmp_path / kind).mkdir()
        for i in range(4):
            write_case(make_case(f"subject{i}", i, "val" if i < 2 else "train", **more), tmp_path / kind)

    def weights(recipe: Recipe, device: torch.device) -> dict[str, torch.Tensor]:
        def trainer(devices: int, nodes: int, **settings: Any) -> lightning.Trainer:
            strategy = SingleDeviceStrategy(device, accelerator=Elsewhere())
            return lightning.Trainer(strategy=strategy, devices=devices, **settings)

        monkeypatch.setattr(training_run, "_trainer", trainer)
        cases = tmp_path / ("maps" if recipe.preset == "tiny-maps" else "plain")
        model = train(recipe, cases, tmp_path / device.type, progress=False)
        return load_model(model).network.state_dict()

    return weights


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_the_weights_of_the_cpus(
    name: str, trained: Any, recipe: Recipes, pretended_device: Any
) -> None:
    settings = recipe(**{"crop": (12, 16, 14), "epochs": 1, "augmentation": EVERYTHING, **RUNS[name]})
    expected, found = trained(settings, torch.device("cpu")), trained(settings, pretended_device)
    assert expected.keys() == found.keys()
    for key, weights in expected.items():
        torch.testing.assert_close(found[key], weights, atol=1e-4, rtol=1e-3)
