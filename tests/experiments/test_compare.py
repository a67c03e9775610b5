"""The comparison's bookkeeping: what is done is not done again, what failed is told, the table adds up."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest

from mics.errors import InputError
from mics.experiments.baselines.methods import METHODS, Method
from mics.experiments.compare import compare
from mics.experiments.comparison_table import markdown
from mics.files.folder import locked_folder

SHAPE = (12, 10, 10)


@pytest.fixture
def folder(tmp_path):
    """Two subjects in the Learn2Reg layout, the second one's liver two voxels further along i."""
    folder = tmp_path / "AbdomenCTCT"
    training = []
    for number, start in (("0001", 2), ("0002", 4)):
        labels = np.zeros(SHAPE, np.uint8)
        labels[start : start + 4, 3:7, 3:7] = 6
        for kind, array in (("images", labels * np.int16(20) - np.int16(60)), ("labels", labels)):
            path = folder / f"{kind}Tr" / f"AbdomenCTCT_{number}_0000.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
        names = {kind: f"./{kind}sTr/AbdomenCTCT_{number}_0000.nii.gz" for kind in ("image", "label")}
        training.append(names)
    pair = {"fixed": training[0]["image"], "moving": training[1]["image"]}
    content = {"training": training, "registration_val": [pair]}
    (folder / "AbdomenCTCT_dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def output(tmp_path):
    """Results with finished affine cells, so that the tests need no ANTs."""
    score = {"dice": {"6": 1.0}, "hd95_voxels": {"6": 0.0}, "hd95_mm": {"6": 0.0}, "sd_log_jacobian": 0.0}
    score |= {"fold_share": 0.0, "nondiffeomorphic_percent": 0.0, "inverse_mean_mm": 0.0, "inverse_max_mm": 0.0}
    score |= {"landmark_mm": None, "seconds": 0.0}
    for fixed, moving in (("0001", "0002"), ("0002", "0001")):
        record = {"method": "affine", "model": None, "fixed": fixed, "moving": moving, "affine": np.eye(4).tolist()}
        record |= {"affine_seconds": 3.0, "memory_gb": 0.5, "gpu_memory_gb": None, "load_before": 0.0, "score": score}
        path = tmp_path / "results" / "cells" / "affine" / f"{fixed}_{moving}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return tmp_path / "results"


def test_cells_are_computed_once_and_tabulated(folder, output):
    asked = []
    first = compare(folder, output, methods=["unregistered"], progress=asked.append)
    assert asked == ["unregistered on 0001_0002", "unregistered on 0002_0001"]
    assert (first.skipped, first.failed) == ([], [])
    record = json.loads((output / "cells" / "unregistered" / "0001_0002.json").read_text(encoding="utf-8"))
    assert record["score"]["dice"] == {"6": 0.5}
    assert (record["score"]["hd95_voxels"]["6"], record["score"]["hd95_mm"]["6"]) == (2, 4)
    assert (record["score"]["fold_share"], record["score"]["inverse_max_mm"]) == (0, 0)
    assert record["memory_gb"] > 0.01
    row = next(line for line in first.table.splitlines() if line.startswith("| unregistered"))
    assert [cell.strip() for cell in row.split("|")[2:8]] == ["2", "0.500", "0.500", "1.000", "2.00", "4.00"]
    assert "| Mok 2020 (LapIRN) | 0.67 | 0.48 | 36.5 | 0.12 |" in first.table
    assert (output / "table.md").read_text(encoding="utf-8") == first.table
    lines = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [line["method"] for line in lines] == ["affine", "affine", "unregistered", "unregistered"]
    assert [float(line["dice"]) for line in lines] == [1, 1, 0.5, 0.5]

    asked.clear()
    assert compare(folder, output, methods=["unregistered"], progress=asked.append).table == first.table
    assert asked == []
    (output / "cells" / "unregistered" / "0002_0001.json").unlink()
    compare(folder, output, methods=["unregistered"], progress=asked.append)
    assert asked == ["unregistered on 0002_0001"]


def test_a_registered_method_runs_in_a_process_that_does_not_know_its_name(folder, output, tmp_path, monkeypatch):
    (tmp_path / "two_voxels.py").write_text(
        "import numpy as np\n"
        "from mics.experiments.baselines.baseline_result import BaselineResult\n"
        "def register(fixed, moving, affine):\n"
        "    forward = np.zeros((3, *fixed.grid.size), np.float32)\n"
        "    forward[0] = 2\n"
        "    return BaselineResult(forward, -forward, seconds=0.25)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS))
    METHODS.register("two-voxels", Method("two voxels along i", "two_voxels:register"))
    found = compare(folder, output, methods=["two-voxels"])
    record = next(r for r in found.records if (r["method"], r["fixed"]) == ("two-voxels", "0001"))
    assert (record["score"]["dice"], record["score"]["seconds"]) == ({"6": 1.0}, 0.25)
    assert "| two voxels along i |" in found.table


def test_a_failing_cell_is_told_and_the_others_go_on(folder, output):
    (folder / "labelsTr" / "AbdomenCTCT_0001_0000.nii.gz").write_bytes(b"no image")
    result = compare(folder, output, methods=["unregistered"])
    assert [message.split(",")[0] for message in result.failed] == [
        "unregistered failed on 0001_0002",
        "unregistered failed on 0002_0001",
    ]
    assert "InputError" in (output / "logs" / "unregistered" / "0001_0002.log").read_text(encoding="utf-8")
    assert "| affine alone | 2 |" in result.table


def test_results_of_another_list_or_an_unstated_model_are_not_mixed(folder, output, tmp_path):
    compare(folder, output, methods=["affine"])
    (folder.parent / "other").mkdir()
    for name in ("imagesTr", "labelsTr", "AbdomenCTCT_dataset.json"):
        (folder.parent / "other" / name).symlink_to(folder / name)
    with pytest.raises(InputError, match="another list of pairs"):
        compare(folder.parent / "other", output, methods=["affine"])
    cell = output / "cells" / "network" / "0001_0002.json"
    cell.parent.mkdir()
    cell.write_text(json.dumps({"model": "runs/a"}))
    with pytest.raises(InputError, match="with the model runs/a, not with the default model"):
        compare(folder, output, methods=["network"])


def test_cells_are_computed_again_after_what_they_were_made_of_has_changed(folder, output):
    """The table has what a changed label map gives, and a change is noticed for scans and labels of both subjects."""
    record = json.loads((output / "cells" / "affine" / "0001_0002.json").read_text())
    cell = output / "cells" / "unregistered" / "0001_0002.json"
    cell.parent.mkdir()
    cell.write_text(json.dumps({**record, "method": "unregistered", "made_of": {"files": {}}}))
    asked = []
    result = compare(folder, output, methods=["unregistered"], both_directions=False, progress=asked.append)
    assert asked == ["unregistered on 0001_0002, again, as what it was made of has changed"]
    assert [record["score"]["dice"] for record in result.records] == [{"6": 1.0}, {"6": 0.5}]
    compare(folder, output, methods=["unregistered"], both_directions=False, progress=pytest.fail)
    for file in (path for kind in ("images", "labels") for path in (folder / f"{kind}Tr").iterdir()):
        before = file.stat().st_mtime_ns
        os.utime(file, ns=(before, before + 1))
        with pytest.raises(pytest.fail.Exception, match="unregistered on 0001_0002, again"):
            compare(folder, output, methods=["unregistered"], both_directions=False, progress=pytest.fail)
        os.utime(file, ns=(before, before))


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"model": null}', '{"model": null, "score": 3}', "[" * 9999])
def test_a_damaged_cell_is_told_before_anything_is_computed(folder, output, content):
    cell = output / "cells" / "unregistered" / "0002_0001.json"
    cell.parent.mkdir()
    cell.write_text(content)
    with pytest.raises(InputError, match=r"0002_0001\.json is damaged; delete it"):
        compare(folder, output, methods=["unregistered"], progress=pytest.fail)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 9999])
def test_a_damaged_note_is_told(folder, output, content):
    (output / "pairs.json").write_text(content)
    with pytest.raises(InputError, match=r"pairs\.json is damaged"):
        compare(folder, output, methods=["affine"], progress=pytest.fail)


@pytest.mark.parametrize("methods", [["network=nothing"], ["affine", "mics=organs-small"], ["mics", "mics=nothing"]])
def test_a_model_that_cannot_be_used_is_refused_before_anything_is_written(folder, tmp_path, methods):
    with pytest.raises(InputError, match=r"no model nothing|is for segmentation"):
        compare(folder, tmp_path / "new" / "results", methods=methods, progress=pytest.fail)
    assert not (tmp_path / "new").exists()


def test_somebodys_folder_and_one_in_use_are_left_alone(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "table.md").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        compare(folder, mine, methods=["affine"])
    assert [path.read_text() for path in mine.iterdir()] == ["mine"]
    with locked_folder(tmp_path / "busy"), pytest.raises(InputError, match="Another run"):
        compare(folder, tmp_path / "busy", methods=["affine"])


PARENT = """
import os, signal, sys
from pathlib import Path
from mics.experiments.own_process import run_alone
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
child = "import os, subprocess, sys; from mics.experiments.own_process import end_with; end_with(int(sys.argv[1]));"
child += "tool = subprocess.Popen(['sleep', '60']); print(os.getpid(), tool.pid, flush=True); tool.wait()"
run_alone([sys.executable, "-c", child, str(os.getpid())], Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups of this kind")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cell_and_the_tool_that_it_runs_end_with_the_comparison(tmp_path, number):
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(log)])
    deadline = time.monotonic() + 60
    while len(log.read_text().split() if log.exists() else ()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.send_signal(number)
    assert parent.wait() == (3 if number == signal.SIGTERM else -number)
    left = {int(word) for word in log.read_text().split()}
    assert len(left) == 2
    while left and time.monotonic() < deadline:
        left = {process for process in left if is_running(process)}
        time.sleep(0.02)
    assert not left


def is_running(process):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")  # a zombie has ended


def test_a_method_starts_in_a_process_without_the_libraries_that_measure():
    """Torch alone takes more memory than some of the methods."""
    code = "import sys, mics.experiments.cell; print({'torch', 'ants', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "set()"


def test_several_models_of_a_method_stand_side_by_side(folder, output, monkeypatch, tmp_path):
    """An adapter that moves by as many voxels as its model's name says: each model has a row, a folder and a line."""
    (tmp_path / "moves.py").write_text(
        "import numpy as np\n"
        "from mics.experiments.baselines.baseline_result import BaselineResult\n"
        "def register(fixed, moving, affine, model='0'):\n"
        "    forward = np.zeros((3, *fixed.grid.size), np.float32)\n"
        "    forward[0] = int(model)\n"
        "    return BaselineResult(forward, -forward, seconds=0.25)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS))
    METHODS.register("moves", Method("moves", "moves:register", model=True))
    monkeypatch.setattr("mics.experiments.compare._models", lambda choice: [])
    found = compare(folder, output, methods=["moves=2", "moves"], both_directions=False)
    rows = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in found.table.splitlines()[2:5]}
    assert rows == {"affine alone": "1.000", "moves: 2": "1.000", "moves: mics-velocity": "0.500"}
    assert len({path.parent for path in (output / "cells").glob("moves*/*.json")}) == 2
    lines = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [(line["method"], line["model"]) for line in lines] == [("affine", ""), ("moves", "2"), ("moves", "")]
    cells = [json.loads(path.read_text()) for path in (output / "cells").glob("moves-*/*.json")]
    for model, title in (("2", "| moves |"), ("mics-velocity", "| moves |"), ("mics-fast", "| moves: mics-fast |")):
        assert title in markdown([{**cell, "model": model} for cell in cells])
    with pytest.raises(pytest.fail.Exception):
        compare(folder, output, methods=["moves=3"], both_directions=False, progress=pytest.fail)
