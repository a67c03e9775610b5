import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training, which takes hours, and records what it is asked for."""
    asked = []

    module = ModuleType("mics.training.start")
    for name in ("start", "resume"):

        def record(*positional, name=name, **named):
            asked.append((name, positional, named))
            return Path("run/model.safetensors")

        setattr(module, name, record)
    monkeypatch.setitem(sys.modules, "mics.training.start", module)
    return asked


def test_arguments_reach_the_training(run, calls, tmp_path):
    options = ["--set", "steps=2", "--set", "losses.similarity=1", "--initial", "mics-small"]
    result = run("train", "small", "--data", "phantom:8", "-o", tmp_path, *options)
    assert result.exit_code == 0, result.output
    named = {"overrides": ["steps=2", "losses.similarity=1"], "initial": "mics-small"}
    assert calls == [("start", ("small", "phantom:8", tmp_path), named)]
    assert result.stdout == "Written to run/model.safetensors\n"


def test_a_run_is_gone_on_with_by_its_folder_alone(run, refused, calls, tmp_path):
    assert run("train", "--resume", tmp_path).exit_code == 0
    assert calls == [("resume", (tmp_path,), {})]
    assert "leave out" in refused("train", "mics-small", "--resume", tmp_path)


@pytest.mark.parametrize("missing", ["recipe", "data", "output"])
def test_a_new_run_needs_recipe_data_and_output(refused, tmp_path, missing):
    given = {"recipe": ["mics-small"], "data": ["--data", "phantom:8"], "output": ["-o", tmp_path / "run"]}
    arguments = [word for name, words in given.items() if name != missing for word in words]
    assert "--resume" in refused("train", *arguments)


def test_a_folder_without_a_run_cannot_be_gone_on_with(refused, tmp_path):
    assert "holds no run" in refused("train", "--resume", tmp_path)


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
