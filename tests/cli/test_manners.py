"""What all commands have in common: how much they say, in which form, on how many threads, over what they may write."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from mics.cli.main import COMMANDS
from mics.cli.manners import THREADS


@pytest.fixture
def scans(make, tmp_path):
    return [make(tmp_path / "fixed.nii.gz"), make(tmp_path / "moving.nii.gz", centre=10.0)]


def test_quiet_says_nothing_and_writes_all_the_same(run, quick, scans, tmp_path):
    result = run("register", *scans, "-o", tmp_path / "out", *quick, "-q")
    assert (result.exit_code, result.stdout) == (0, "")
    assert " s  " not in result.stderr
    assert (tmp_path / "out" / "summary.json").exists()


def test_quiet_keeps_errors(refused, scans, tmp_path):
    assert "no_such" in refused("register", tmp_path / "no_such.nii.gz", scans[1], "-o", tmp_path / "out", "--quiet")


def test_verbose_tells_the_steps_and_where_a_refusal_comes_from(run, quick, scans, tmp_path):
    result = run("register", *scans, "-o", tmp_path / "out", *quick, "-v")
    assert "mics.cli.progress: Reading" in result.stderr
    for step in ("Reading", "Affine registration", "Network, steps: 2", "Warping", "Measuring", "Writing"):
        assert result.stderr.count(step) == 1, result.stderr
    assert "mics.registration: Verdict: " in result.stderr
    result = run("register", tmp_path / "none.nii.gz", scans[1], "-o", tmp_path / "out2", "-v")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_json_is_all_that_stands_on_stdout(quick, scans, tmp_path):
    """In a process of its own: what libraries print counts too."""
    command = [sys.executable, "-m", "mics", "register", *scans, "-o", tmp_path / "out", *quick, "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.pop("folder") == str(tmp_path / "out")
    assert found == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_a_list_as_json(run):
    cohorts = json.loads(run("prepare", "--list", "--json").stdout)["cohorts"]
    assert "kits19" in [cohort["name"] for cohort in cohorts]


def test_threads_hold_for_torch_and_for_processes_and_not_beyond_the_command(run, monkeypatch, scans, quick, tmp_path):
    seen = []
    step = "mics.registration.registrar.Timing"
    from mics.registration.timing import Timing

    def noted(progress, **others):
        seen.append((torch.get_num_threads(), {os.environ.get(name) for name in THREADS}))
        return Timing(progress, **others)

    monkeypatch.setattr(step, noted)
    before = torch.get_num_threads(), {name: os.environ.get(name) for name in THREADS}
    assert run("register", *scans, "-o", tmp_path / "out", *quick, "--threads", 3).exit_code == 0
    assert set(map(str, seen)) == {str((3, {"3"}))}
    assert (torch.get_num_threads(), {name: os.environ.get(name) for name in THREADS}) == before


def test_force_replaces_results_of_the_same_command(run, refused, quick, scans, tmp_path):
    out = tmp_path / "out"
    assert run("register", *scans, "-o", out, *quick).exit_code == 0
    kept = refused("register", *scans, "-o", out, *quick)
    assert "holds the results of a registration already" in kept
    assert "or replace them with --force" in kept
    before = json.loads((out / "summary.json").read_text())["finished"]
    assert run("register", *scans, "-o", out, *quick, "--steps", 1, "--force").exit_code == 0
    after = json.loads((out / "summary.json").read_text())
    assert (after["settings"]["steps"], after["finished"] >= before) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.nii.gz", "moving.nii.gz", "out"]


def test_force_leaves_what_is_foreign_and_puts_back_what_was_there_where_the_work_fails(
    run, refused, quick, scans, tmp_path
):
    out = tmp_path / "out"
    assert run("register", *scans, "-o", out, *quick).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused("register", tmp_path / "none.nii.gz", scans[1], "-o", out, *quick, "--force")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "notes.txt").write_text("mine")
    assert "holds notes.txt" in refused("register", *scans, "-o", out, *quick, "--force")
    shutil.rmtree(out)
    out.mkdir()
    (out / "summary.json").write_text("{}")
    assert "does not hold the results of a registration" in refused("register", *scans, "-o", out, *quick, "--force")
    assert (out / "summary.json").read_text() == "{}"


def test_every_command_says_how_much_it_says(run):
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        shown = run(name, "--help").stdout
        assert ("--quiet" in shown) == (name != "info"), name
