import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training, which takes hours, and records what it is asked for."""
    asked = []

    def start(*positional, **named):
        asked.append((positional, named))
        return Path("run/model.safetensors")

    module = ModuleType("mics.training.start")
    module.start = start
    monkeypatch.setitem(sys.modules, "mics.training.start", module)
    return asked


def test_arguments_reach_the_training(run, calls, tmp_path):
    options = ["--set", "steps=2", "--set", "losses.similarity=1", "--initial", "mics-small", "--resume"]
    result = run("train", "small", "--data", "phantom:8", "-o", tmp_path, *options)
    assert result.exit_code == 0, result.output
    named = {"overrides": ["steps=2", "losses.similarity=1"], "initial": "mics-small", "resume": True}
    assert calls == [(("small", "phantom:8", tmp_path), named)]
    assert result.stdout == "Written to run/model.safetensors\n"


def test_without_lightning_it_says_what_to_install(refused, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "mics.training.start", raising=False)
    monkeypatch.delitem(sys.modules, "mics.training.run", raising=False)
    monkeypatch.setitem(sys.modules, "lightning", None)
    assert "mics-registration[train]" in refused("train", "small", "--data", "phantom:8", "-o", tmp_path)


@pytest.mark.parametrize(
    ("recipe", "setting"), [("no-such-recipe", "epochs=1"), ("mics-small", "epochs"), ("mics-small", "no_such_key=1")]
)
def test_a_wrong_recipe_or_setting_is_refused_before_anything_is_written(refused, tmp_path, recipe, setting):
    refused("train", recipe, "--data", "phantom:8", "-o", tmp_path / "run", "--set", setting)
    assert not (tmp_path / "run").exists()
