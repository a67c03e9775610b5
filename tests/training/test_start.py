"""A run from what a user types: its folder holds all that it needs, also after it was killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mics.errors import InputError, Terminated
from mics.training.recipe import Recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.registration import RegistrationTraining
from mics.training.run import train
from mics.training.samples import Sample
from mics.training.start import resume, start

CHILD = """
import sys
from pathlib import Path
from mics.training.recipe import Recipe
from mics.training.run import train
train(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), progress=False)
"""


def test_a_run_is_recorded_and_resumed_by_its_folder_alone(tmp_path: Path) -> None:
    settings = ["spacing_mm=16", "iterations_per_epoch=2", "epochs=2", "stop_after_epochs=1"]
    run = tmp_path / "run"
    start("phantom-small", "phantom:5", run, overrides=settings)
    record = json.loads((run / "run.json").read_text())
    assert record["recipe"]["iterations_per_epoch"] == 2
    assert record["recipe"]["seed"] == 0
    assert [case["split"] for case in record["cases"]] == ["val"] * 3 + ["train"] * 2
    assert record["versions"]["torch"] == torch.__version__
    assert record["data"] == "phantom:5"
    with pytest.raises(InputError, match="by `resume"):
        start("phantom-small", "phantom:5", run, overrides=settings)
    resume(run, overrides=["stop_after_epochs=null"])
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 1
    changed = json.loads((run / "run.json").read_text())
    assert changed["changes"] == [{"after_epoch": 1, "set": ["stop_after_epochs=null"]}]
    assert changed["recipe"] == {**record["recipe"], "stop_after_epochs": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rate=1", "learning_rate cannot change"),
        ("losses.gradient=3", "losses cannot change"),
        ("epochs=3", "decays over its 4 epochs"),
        ("stop_after_epochs=1", "in epoch 2 already"),
        ("epoch=3", "did you mean epochs"),
    ],
)
def test_what_would_make_the_record_untrue_is_refused_and_changes_nothing(
    recipe: Callable[..., Recipe], tmp_path: Path, override: str, message: str
) -> None:
    settings = recipe(epochs=4, decay=True)
    record = {"recipe": settings.model_dump(mode="json"), "initial": None, "devices": 1, "nodes": 1}
    (tmp_path / "run.json").write_text(json.dumps(record))
    sound = {"state_dict": {}, "hyper_parameters": {}, "callbacks": {}, "loops": {}, "optimizer_states": []}
    torch.save({**sound, "epoch": 1}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=message):
        resume(tmp_path, overrides=[override])
    assert json.loads((tmp_path / "run.json").read_text()) == record


def test_a_run_is_extended_to_what_it_would_have_been(
    recipe: Callable[..., Recipe], cases: Path, tmp_path: Path
) -> None:
    longer, extended = tmp_path / "longer", tmp_path / "extended"
    train(recipe(epochs=2), cases, longer, progress=False)
    extended.mkdir()
    (extended / "cases").symlink_to(cases)
    train(recipe(epochs=1), cases, extended, progress=False)
    record = {"recipe": recipe(epochs=1).model_dump(mode="json"), "initial": None, "devices": 1, "nodes": 1}
    (extended / "run.json").write_text(json.dumps(record))
    resume(extended, overrides=["epochs=2"], progress=False)
    ends = [torch.load(run / "last.ckpt", weights_only=True) for run in (extended, longer)]
    for name, weight in ends[0]["state_dict"].items():
        torch.testing.assert_close(weight, ends[1]["state_dict"][name], rtol=0, atol=0)
    assert json.loads((extended / "model.json").read_text())["recipe"]["epochs"] == 2
    log = (extended / "training.log").read_text()
    assert "training goes on after epoch 1: 2 epochs" in log


def test_lightning_is_silent_and_keeps_its_voice_for_others(
    recipe: Callable[..., Recipe], cases: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("lightning.pytorch").level
    train(recipe(epochs=1, iterations_per_epoch=1), cases, tmp_path / "run", progress=False)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert logging.getLogger("lightning.pytorch").level == before


@pytest.mark.parametrize("content", [None, "{", "{}", '{"recipe": {"task": "cooking"}, "initial": null}'])
def test_a_folder_without_a_sound_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match="damaged" if content else "holds no run"):
        resume(tmp_path)


@pytest.mark.nightly
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_to_the_same_weights(recipe: Callable[..., Recipe], cases: Path, tmp_path: Path) -> None:
    settings = recipe(epochs=6, iterations_per_epoch=3, augmentation={"probability": 0.5, "elastic": 0.5, "noise": 5})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    child = subprocess.Popen([sys.executable, "-c", CHILD, settings.model_dump_json(), str(cases), str(killed)])
    deadline = time.monotonic() + 120
    while not (killed / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)  # in the middle of a later epoch
    child.send_signal(signal.SIGKILL)
    child.wait()
    first = torch.load(killed / "last.ckpt", weights_only=True)  # whole, whatever was being written
    train(settings, cases, killed, resume=True, progress=False)
    train(settings, cases, whole, progress=False)
    assert first["epoch"] < 5
    ends = [torch.load(run / "last.ckpt", weights_only=True) for run in (killed, whole)]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 5
    for name, weight in ends[0]["state_dict"].items():
        torch.testing.assert_close(weight, ends[1]["state_dict"][name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("workers", "number", "error"), [(0, signal.SIGINT, KeyboardInterrupt), (1, signal.SIGTERM, Terminated)]
)
def test_a_run_stopped_by_a_signal_goes_on_with_the_next_iteration(
    recipe: Callable[..., Recipe],
    cases: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    number: signal.Signals,
    error: type[BaseException],
) -> None:
    settings = recipe(epochs=3, iterations_per_epoch=5, workers=workers, augmentation={"mirror_probability": 0.5})
    training_step = RegistrationTraining.training_step

    def interrupted(self: RegistrationTraining, batch: Sample, index: int) -> torch.Tensor:
        if self.global_step == 7:
            signal.raise_signal(number)
        return training_step(self, batch, index)

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(RegistrationTraining, "training_step", interrupted)
        with pytest.raises(error):
            train(settings, cases, stopped, progress=False)
    assert torch.load(stopped / "last.ckpt", weights_only=True)["global_step"] == 8
    assert signal.getsignal(number) is before
    train(settings, cases, stopped, resume=True, progress=False)
    train(settings, cases, whole, progress=False)
    ends = [torch.load(run / "last.ckpt", weights_only=True) for run in (stopped, whole)]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 15
    for name, weight in ends[0]["state_dict"].items():
        torch.testing.assert_close(weight, ends[1]["state_dict"][name], rtol=0, atol=0)


@pytest.mark.nightly
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits of this kind")
def test_a_disk_without_room_is_told_and_keeps_the_last_checkpoint(
    recipe: Callable[..., Recipe], cases: Path, tmp_path: Path
) -> None:
    """A limit on the size of files, below that of a checkpoint, stands in for the full disk."""
    settings, run = recipe(epochs=2, stop_after_epochs=1), tmp_path / "run"
    train(settings, cases, run, progress=False)
    before = (run / "last.ckpt").read_bytes()
    more = settings.model_copy(update={"stop_after_epochs": None})
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2)"
    code = limit + CHILD.replace("progress=False", "progress=False, resume=True")
    command = [sys.executable, "-c", code, more.model_dump_json(), str(cases), str(run)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert f"make room and go on by `resume {run}`" in result.stderr
    assert (run / "last.ckpt").read_bytes() == before
