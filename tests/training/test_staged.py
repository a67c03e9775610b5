"""A network whose parts are trained one after the other: which, when, also across a pause, and what its run refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="training needs the train extra")

import lightning

from mics.errors import InputError
from mics.network.lapirn import LapIRNConfig
from mics.network.presets import PRESETS
from mics.network.weights import load_model
from mics.training.recipe import Recipe
from mics.training.run import train
from mics.training.start import resume, start

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning")
PRESETS.register("lapirn-tiny", LapIRNConfig(channels=4, blocks=1))
LOSSES = {"ncc_pyramid": 1.0, "gradient": 1.0, "similarity": 0.0, "segmentation": 0.0, "jacobian": 0.0, "inverse": 0.0}


class Watch(lightning.Callback):
    """The numbers of the levels whose weights each iteration has changed."""

    def __init__(self) -> None:
        self.changed: list[set[int]] = []

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object
    ) -> None:
        self.before = {name: weight.detach().clone() for name, weight in pl_module.network.named_parameters()}

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:
        moved = [name for name, w in pl_module.network.named_parameters() if not torch.equal(w, self.before[name])]
        self.changed.append({int(name.split(".")[1]) for name in moved})


@pytest.fixture
def settings(recipe: Callable[..., Recipe]) -> Recipe:
    return recipe(preset="lapirn-tiny", steps=1, epochs=4, iterations_per_epoch=2, losses=LOSSES)


def test_levels_are_trained_coarse_to_fine_and_a_run_that_paused_goes_on_where_it_was(
    settings: Recipe, cases: Path, tmp_path: Path
) -> None:
    whole, first, second = Watch(), Watch(), Watch()
    train(settings, cases, tmp_path / "whole", callbacks=[whole], progress=False)
    # Eight iterations: two of the first level, two of the second, four of the third; the coarser ones rest when one begins.
    assert whole.changed == [{0}, {0}, {1}, {0, 1}, {2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}]
    run = tmp_path / "parts"
    early = settings.model_copy(update={"stop_after_epochs": 1})
    train(early, cases, run, callbacks=[first], progress=False)
    train(settings, cases, run, callbacks=[second], resume=True, progress=False)
    assert first.changed + second.changed == whole.changed
    for name, weights in load_model(run).network.state_dict().items():
        assert torch.equal(weights, load_model(tmp_path / "whole").network.state_dict()[name]), name


@pytest.fixture
def written(settings: Recipe, tmp_path: Path) -> Path:
    """The recipe as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(settings.model_dump_json())  # JSON is YAML
    return path


def test_a_run_whose_parts_take_turns_has_one_device(written: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lapirn-tiny are trained one after the other, on one device"):
        start(written, "phantom:5", tmp_path / "run", devices=2, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.nightly
def test_the_schedule_of_a_run_is_kept(written: Path, tmp_path: Path) -> None:
    start(written, "phantom:5", tmp_path / "run", overrides=["spacing_mm=16", "epochs=1"], progress=False)
    with pytest.raises(InputError, match="parts of this run's network take their turns over its 1 epoch"):
        resume(tmp_path / "run", overrides=["epochs=2"], progress=False)
