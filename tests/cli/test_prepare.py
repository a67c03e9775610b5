"""`mics prepare` on a generated cohort, and how bad arguments are refused."""

import csv
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def own(published, tmp_path):
    """A copy of a hospital's own two subjects, who need no registration: the first is the reference."""
    folder = tmp_path / "own"
    shutil.copytree(published("nnunet").parent, folder)
    return folder / "cohort.yaml"


def test_the_list_names_every_cohort_with_its_layout(run):
    result = run("prepare", "--list")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    for name in ("learn2reg", "pancreas-ct", "kits19", "msd-liver", "msd-pancreas", "msd-spleen", "nnunet"):
        assert name in words
    assert "dataset.json" in words


def test_a_folder_becomes_a_training_set_and_a_bad_case_is_told(run, own, tmp_path):
    (own.parent / "Dataset501_Abdomen" / "imagesTr" / "own_1_0000.nii.gz").write_bytes(b"no image")
    out = tmp_path / "out"
    result = run("prepare", f"nnunet={own}", "-o", out, "--spacing", 16, "--size", 24, 20, 32, "--workers", 1)
    assert result.exit_code == 2
    assert "1 case in" in result.stdout
    assert "1 case could not be prepared (nnunet_own_1:" in result.stderr
    with (out / "manifest.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["nnunet_own_0"]["status"], rows["nnunet_own_1"]["status"]) == ("prepared", "failed")
    assert rows["nnunet_own_0"]["organs"] == "[2, 3, 6]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--list"),
        (["kits19"], "NAME=FOLDER"),
        (["kits19=/a", "kits19=/b"], "each cohort once"),
        (["kits=/a"], "did you mean 'kits19'"),
        (["kits19=/nowhere/at/all"], "is not a folder"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_written(refused, tmp_path, arguments, message):
    assert message in refused("prepare", *arguments, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_dask_one_process_does_it_unless_more_are_asked_for(run, own, tmp_path, monkeypatch):
    for name in ("distributed", "distributed.system"):
        monkeypatch.setitem(sys.modules, name, None)
    result = run("prepare", f"nnunet={own}", "-o", tmp_path / "out", "--spacing", 16, "--size", 24, 20, 32)
    assert result.exit_code == 0, result.output
    assert "2 cases in" in result.stdout


def test_without_dask_it_says_what_to_install(refused, own, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = refused(
        "prepare", f"nnunet={own}", "-o", tmp_path / "out", "--spacing", 16, "--size", 24, 20, 32, "--workers", 2
    )
    assert "mics-registration[cluster]" in message


@pytest.mark.nightly
def test_the_same_input_gives_the_same_bytes_for_any_number_of_workers(publishers, own, tmp_path):
    """As a user runs it: ANTs takes the number of its threads from the process that it is loaded into."""
    pytest.importorskip("distributed", reason="several workers need the cluster extra")
    learn2reg = publishers.learn2reg(tmp_path / "learn2reg", 3, 8.0)
    found = {}
    for workers in (1, 2):
        out = tmp_path / f"by{workers}"
        arguments = ["prepare", f"learn2reg={learn2reg}", f"nnunet={own}", "-o", out, "--workers", workers]
        settings = ["--spacing", 8, "--size", 48, 40, 64]
        command = [sys.executable, "-c", "from mics.cli.main import main; main()", *arguments, *settings]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        found[workers] = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found[1].keys() == found[2].keys()
    assert len(found[1]) > 20
    assert [name for name, content in found[1].items() if found[2][name] != content] == []
