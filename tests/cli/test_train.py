import json

import pytest


@pytest.mark.nightly
def test_a_run_begins_with_recipe_and_data_and_is_gone_on_with_by_its_folder_alone(run, refused, tmp_path):
    small = ["spacing_mm=16", "iterations_per_epoch=1", "epochs=1", "seed=7"]
    options = [word for setting in small for word in ("--set", setting)]
    result = run("train", "phantom-small", "--data", "phantom:5", "-o", tmp_path, "--initial", "mics-small", *options)
    assert result.exit_code == 0, result.output
    assert f"Written to {tmp_path}/model.safetensors\n" in result.stdout
    assert f"mics register FIXED MOVING -o OUT --model {tmp_path}\n" in result.stdout
    log = (tmp_path / "training.log").read_text().splitlines()
    assert [line.split(" ", 2)[2].split(":")[0] for line in log[:2]] == ["training begins", "epoch 1 of 1"]
    assert all(line.split(" ", 2)[2] in result.stdout for line in log)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"]["seed"] == 7
    assert {name: record[name] for name in ("data", "initial", "devices", "nodes")} == {
        "data": "phantom:5",
        "initial": "mics-small",
        "devices": 1,
        "nodes": 1,
    }
    assert [file.name for file in (tmp_path / "overview").iterdir()] == ["epoch_0001.png"]  # "epoch 1 of 1" of the log
    model = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    assert run("train", "--resume", tmp_path).exit_code == 0
    assert (tmp_path / "model.safetensors").read_bytes() == model
    assert "leave out" in refused("train", "mics-small", "--resume", tmp_path)


@pytest.mark.parametrize("missing", ["recipe", "data", "output"])
def test_a_new_run_needs_recipe_data_and_output(refused, tmp_path, missing):
    given = {"recipe": ["mics-small"], "data": ["--data", "phantom:8"], "output": ["-o", tmp_path / "run"]}
    arguments = [word for name, words in given.items() if name != missing for word in words]
    assert "--resume" in refused("train", *arguments)


def test_a_folder_without_a_run_cannot_be_gone_on_with(refused, tmp_path):
    assert "holds no run" in refused("train", "--resume", tmp_path)


def test_without_lightning_it_says_what_to_install(refused, without_lightning, tmp_path):
    assert "mics-registration[train]" in refused("train", "small", "--data", "phantom:8", "-o", tmp_path)


@pytest.mark.parametrize(
    ("recipe", "setting"), [("no-such-recipe", "epochs=1"), ("mics-small", "epochs"), ("mics-small", "no_such_key=1")]
)
def test_a_wrong_recipe_or_setting_is_refused_before_anything_is_written(refused, tmp_path, recipe, setting):
    refused("train", recipe, "--data", "phantom:8", "-o", tmp_path / "run", "--set", setting)
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_there_are_refused_with_what_can_be_given(refused, tmp_path):
    told = refused("train", "mics-small", "--data", tmp_path / "none", "-o", tmp_path / "run")
    assert f"--data {tmp_path}/none: there is no such folder; give one of mics prepare" in " ".join(told.split())
    assert not (tmp_path / "run").exists()
