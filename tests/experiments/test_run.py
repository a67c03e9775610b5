"""Every table and figure at the budget smoke: on phantoms, with networks that have hardly begun to learn."""

import json
import os
import struct

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.errors import InputError
from mics.experiments.cells import cells_for
from mics.experiments.phantom_data import write_phantoms
from mics.experiments.plan import PaperNetwork, trained_and_used
from mics.experiments.run import experiment
from mics.experiments.schedule import run_cells
from mics.experiments.study import Study
from mics.network.weights import load_model
from mics.registration.register import register

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all tests here: what one has trained, the next uses."""
    return tmp_path_factory.mktemp("smoke")


@pytest.fixture
def run(folder):
    """Run an experiment there; returns its text and what it had to do."""

    def go(name, **more):
        asked = []
        text = experiment(name, folder, progress=asked.append, **more)
        assert (folder / f"{name}.md").read_text(encoding="utf-8") == text
        return text, [line.split(": ")[-1] for line in asked]

    return go


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def size_of_png(path):
    """Width and height that a PNG's header tells."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.mark.nightly
def test_table_2_measures_seven_settings_of_two_networks_once(run, folder):
    text, done = run("table2")
    assert sum(name.startswith("finetune") for name in done) == 2
    assert sum(name.startswith("measure") for name in done) == 7
    found = rows(text)
    assert [row[:2] for row in found] == [
        ["1", "1"],
        ["1", "2"],
        ["1", "3"],
        ["2", "1"],
        ["2", "2"],
        ["2", "3"],
        ["2", "4"],
    ]
    assert found[4][3] == "0.60 ± 0.059"
    assert all(0 < float(row[2].split()[0]) < 1 for row in found)
    # More steps of one network deform more.
    smoothness = [float(row[4].split()[0]) for row in found]
    assert smoothness[0] < smoothness[1] < smoothness[2]
    assert smoothness[3] < smoothness[4] < smoothness[5] < smoothness[6]

    again, done = run("table2")
    assert again == text
    assert done == ["writing table2"]
    files = sorted((folder / "measurements").glob("steps2*.json"))
    files[0].unlink()
    again, done = run("table2")
    assert again == text
    assert done == [f"measure-{files[0].stem}", "writing table2"]


@pytest.mark.nightly
def test_a_measurement_is_what_the_pipeline_gives(run, folder):
    run("table2")
    path = next((folder / "measurements").glob("steps2-*-inference4.json"))
    (first, *_) = json.loads(path.read_text(encoding="utf-8"))["scores"]
    cohort = open_learn2reg(folder / "phantoms")
    fixed, moving = (cohort.cases[number] for number in first["pair"].split("_"))
    model = next((folder / "runs").glob("finetune-steps2-gamma0.1-delta0.01-*"))
    result = register(fixed.image(), moving.image(), affine="none", model=model, steps=4, refine="none")
    warped, target = result.moving_to_fixed.transform_labels(moving.labels()).array, fixed.labels().array
    liver = 2 * np.sum((warped == 6) & (target == 6)) / (np.sum(warped == 6) + np.sum(target == 6))
    assert first["score"]["dice"]["6"] == pytest.approx(liver, abs=0.02)  # half-way voxels round either way


@pytest.mark.nightly
def test_table_3_and_figure_3_share_their_networks_with_table_2(run, folder):
    run("table2")
    text, done = run("table3")
    assert sum(name.startswith("finetune") for name in done) == 4
    assert [row[:2] for row in rows(text)] == [["0.001", "1"], ["0.01", "10"], ["0.05", "50"]]
    assert rows(text)[2][3] == "0.29 ± 0.070"
    _, done = run("figure3")
    assert done == ["writing figure3"]
    assert size_of_png(folder / "figure3.png") == (1200, 540)


@pytest.mark.nightly
def test_an_interrupted_training_goes_on(run, folder):
    run("table2")
    network = next((folder / "runs").glob("finetune-steps1-gamma0.1-delta0.01-*"))
    before = (network / "model.safetensors").read_bytes()
    for file in network.glob("model.*"):
        file.unlink()
    _, done = run("table2")
    assert done == [network.name, "writing table2"]
    assert (network / "model.safetensors").read_bytes() == before


@pytest.mark.nightly
def test_figure_2_has_the_ends_of_three_sweeps(run, folder):
    text, _ = run("figure2")
    assert [row[:2] for row in rows(text)] == [
        ["γ", "0.001"],
        ["γ", "10"],
        ["δ", "0.0001"],
        ["δ", "1"],
        ["ε", "0.001"],
        ["ε", "100"],
    ]
    assert size_of_png(folder / "figure2.png") == (840, 600)


@pytest.mark.nightly
def test_figure_1_has_five_strategies_and_every_organ(run, folder):
    text, _ = run("figure1")
    found = rows(text)
    assert [len(row) for row in found] == [6] * 15
    assert [row[0] for row in found[:3]] == ["mean Dice", "SdLogJ", "spleen"]
    assert size_of_png(folder / "figure1.png") == (1680, 600)


@pytest.mark.nightly
def test_figure_4_shows_a_row_for_every_moving_volume(run, folder):
    text, _ = run("figure4")
    assert "onto 0001, from 0002" in text
    assert size_of_png(folder / "figure4.png")[0] == 1800


@pytest.mark.nightly
def test_table_4_compares_both_forms_of_the_network_and_lapirn(run, folder):
    text, _ = run("table4")
    titles = [row[0] for row in rows(text)]
    assert titles[:4] == ["affine alone", "MICS, network alone", "predecessor's form of the network", "LapIRN"]
    assert "Mok 2020 (LapIRN)" in titles


@pytest.mark.nightly
def test_several_devices_give_the_same_network(run, folder, tmp_path):
    pytest.importorskip("distributed", reason="several devices need the cluster extra")
    run("table2")
    phantoms = folder / "phantoms"
    spread, network = Study(tmp_path, "smoke", phantoms, str(phantoms)), PaperNetwork(steps=1)
    message, environment = [], dict(os.environ)
    run_cells(cells_for([network]), spread, ["cpu", "cpu"], message.append)
    assert len(message) == 4
    assert dict(os.environ) == environment
    alone = Study(folder, "smoke", phantoms, str(phantoms))
    # Workers have a thread each, which rounds otherwise, and Adam's first steps are 0.001 long whatever the gradient.
    first, second = (load_model(study.model(network)).network.state_dict() for study in (spread, alone))
    for name, weights in first.items():
        torch.testing.assert_close(weights, second[name], rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("table9", {}, "no experiment 'table9'; choose one of figure1"),
        ("table2", {"budget": "huge"}, "no budget 'huge'"),
        ("table2", {"budget": "small"}, "needs data"),
        ("table2", {"budget": "paper", "data": "here"}, "needs data for the pretraining"),
        ("table2", {"data": "here"}, "makes its own phantoms"),
        ("table2", {"budget": "small", "data": "here"}, "here"),
        ("table2", {"devices": ["cpu", "tpu:1"]}, "no device 'tpu:1'"),
        ("table2", {"devices": ["cuda:70", "cuda:71"]}, "cuda:70"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, name, more, message):
    with pytest.raises(InputError, match=message):
        experiment(name, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_data_of_the_pretraining_that_are_none_are_refused_before_anything_is_written(tmp_path):
    phantoms = write_phantoms(tmp_path / "phantoms")
    for data in ("phantom:0", str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=r"phantom:N|nowhere"):
            experiment("table2", tmp_path / "out", budget="small", data=phantoms, pretraining=data)
    assert not (tmp_path / "out").exists()


def test_data_that_have_changed_are_noticed(tmp_path):
    phantoms = write_phantoms(tmp_path / "phantoms")
    study = Study(tmp_path, "small", phantoms, "phantom:48")
    study.pin_inputs(study.state())
    study.pin_inputs(study.state())
    scan = next((phantoms / "imagesTr").iterdir())
    os.utime(scan, ns=(0, scan.stat().st_mtime_ns + 1))
    with pytest.raises(InputError, match="before they changed"):
        study.pin_inputs(study.state())


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 9999])
def test_a_folder_with_a_damaged_note_is_refused(tmp_path, content):
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError, match=r"damaged|holds an experiment"):
        experiment("table2", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.json"]


def test_somebodys_folder_is_left_alone(tmp_path):
    (tmp_path / "table2.md").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        experiment("table2", tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scores": 3}', '{"scores": [3]}', "[" * 9999])
def test_a_damaged_measurement_is_told_before_anything_is_trained(tmp_path, content):
    study, measurement = Study(tmp_path, "smoke", tmp_path, ""), trained_and_used(PaperNetwork(steps=1))
    study.scores_path(measurement).parent.mkdir()
    study.scores_path(measurement).write_text(content)
    with pytest.raises(InputError, match="is damaged; delete it"):
        run_cells(cells_for([measurement]), study, [], pytest.fail)


def test_a_folder_of_another_budget_is_refused(run, folder):
    run("table2")
    with pytest.raises(InputError, match="another budget or other data"):
        experiment("table2", folder, budget="small", data=folder / "phantoms")
