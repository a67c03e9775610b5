"""Several processes train as one with the same global batch; Lightning starts them as it would for graphics cards."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.network.weights import load_model

MICS = Path(sys.executable).with_name("mics")


def command(run: Path, devices: int, **settings: object) -> list[str]:
    settings = {"spacing_mm": 16, "iterations_per_epoch": 2, "epochs": 2, "precision": "float32", **settings}
    changed = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return [
        str(MICS),
        "train",
        "phantom-small",
        "--data",
        "phantom:5",
        "-o",
        str(run),
        "--devices",
        str(devices),
        *changed,
    ]


def losses(run: Path) -> list[dict[str, float]]:
    """Every term of the training by step and direction, and the validation's loss."""
    with (run / "curves" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        named = [(name, value) for row in csv.DictReader(file) for name, value in row.items() if value]
    return [{name: float(value)} for name, value in named if name.startswith("train/") or name == "val/loss"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run(command(run, 1, batch_size=2), check=True, capture_output=True)
    return run


@pytest.mark.nightly
def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(alone / "cases", run / "cases")
    ended = subprocess.run(command(run, 2, batch_size=1), check=True, capture_output=True, encoding="utf-8")
    assert ended.stdout.count("Written to") == 1
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["devices"] == 2
    for together, single in zip(losses(run), losses(alone), strict=True):
        assert together == pytest.approx(single, rel=1e-3, abs=1e-5)
    assert load_model(run).card.best_epoch == load_model(alone).card.best_epoch


@pytest.mark.nightly
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to another process group")
def test_ctrl_c_stops_all_processes_after_the_same_iteration(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(alone / "cases", run / "cases")
    child = subprocess.Popen(
        command(run, 2, epochs=500), start_new_session=True, stderr=subprocess.PIPE, encoding="utf-8"
    )
    deadline = time.monotonic() + 120
    while not (run / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    _, output = child.communicate(timeout=60)
    assert child.returncode == 130
    assert f"go on later by resuming {run}" in output
    assert "Traceback" not in output
