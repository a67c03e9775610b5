"""`mics register` with many pairs, as a user runs it: what is there afterwards, after a kill, and beside a broken pair."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.transform import Transform

WHOLE = {
    *("moving_warped.nii.gz", "fixed_warped.nii.gz", "overview.png", "report.html", "summary.json", "source.json"),
    *(
        f"transform_{direction}.nii.gz{end}"
        for direction in ("moving_to_fixed", "fixed_to_moving")
        for end in ("", ".json")
    ),
    "thumbnail.jpg",
}
LABELS = {"moving_labels_warped.nii.gz", "fixed_labels_warped.nii.gz"}


@pytest.fixture
def study(tmp_path, make):
    """Three subjects with labels, and a list of three pairs, the second of which has a damaged scan."""
    for number, name in enumerate("abc"):
        array = make.body((24, 22, 20 + number))
        make(tmp_path / f"{name}.nii.gz", array, centre=3.0 * number)
        make(tmp_path / f"{name}_labels.nii.gz", (array > 0).astype(np.uint8), centre=3.0 * number)
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "broken.nii.gz").write_bytes(whole[: len(whole) // 2])
    rows = ["fixed,moving,fixed_image,moving_image,fixed_labels,moving_labels"]
    rows += ["a,b,a.nii.gz,b.nii.gz,a_labels.nii.gz,b_labels.nii.gz", "a,x,a.nii.gz,broken.nii.gz,,"]
    rows += ["b,c,b.nii.gz,c.nii.gz,b_labels.nii.gz,c_labels.nii.gz"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def results(folder):
    with (folder / "results.csv").open(newline="") as file:
        return {(row["fixed"], row["moving"]): row for row in csv.DictReader(file)}


def test_a_batch_with_a_broken_pair(run, quick, study):
    out = study / "out"
    arguments = ["--pairs", study / "pairs.csv", "-o", out, "--workers", "1", *quick]
    done = run("register", *arguments)
    assert done.exit_code == 2, done.output
    assert "1 of the 3 pairs could not be registered" in done.stderr
    assert "broken.nii.gz" in done.stderr
    rows = results(out)
    assert rows["a", "x"]["error"].startswith("broken.nii.gz is damaged")
    assert rows["a", "x"]["verdict"] == ""
    assert not (out / "a_x").exists()
    for name in ("a_b", "b_c"):
        assert {file.name for file in (out / name).iterdir()} == WHOLE | LABELS
        summary = json.loads((out / name / "summary.json").read_text())
        row = rows[tuple(name.split("_"))]
        assert row["verdict"] == summary["verdict"]["word"]
        assert float(row["dice_1"]) == summary["labels"]["moving_to_fixed"]["dice"]["1"]
        for direction, stored in summary["stored_transforms"].items():
            assert stored["bytes"] == (out / name / f"transform_{direction}.nii.gz").stat().st_size
            assert 0 <= stored["largest_error_mm"] <= 0.05
    assert {file.name for file in out.iterdir()} == {
        *("a_b", "b_c", "batch.json", "pairs.csv", "results.csv", "review.html"),
    }

    # The evaluation takes the folder and its list as they are: without the pair that failed.
    scored = run("evaluate", out, out / "pairs.csv", "-o", study / "scores")
    assert scored.exit_code == 0, scored.output
    with (study / "scores" / "pairs.csv").open(newline="") as file:
        scores = {(row["fixed"], row["moving"]): float(row["dice"]) for row in csv.DictReader(file)}
    assert scores == {
        pair: pytest.approx(float(rows[pair]["mean_dice"]), abs=0.01) for pair in (("a", "b"), ("b", "c"))
    }

    # What is there stays, and is not touched; what has failed is tried again.
    before = (out / "a_b" / "summary.json").stat().st_mtime_ns
    (study / "broken.nii.gz").write_bytes((study / "b.nii.gz").read_bytes())
    again = run("register", *arguments)
    assert again.exit_code == 0, again.output
    assert "2 pairs were there already" in again.stdout
    assert (out / "a_b" / "summary.json").stat().st_mtime_ns == before
    assert results(out)["a", "x"]["verdict"] in ("good", "look", "failed")

    # What another version of MICS has made is made again, and nothing else.
    source = out / "b_c" / "source.json"
    known = json.loads(source.read_text())
    source.write_text(json.dumps(known | {"mics_version": "0.0.1"}))
    whole = (out / "a_b" / "summary.json").stat().st_mtime_ns
    assert "2 pairs were there already" in run("register", *arguments).stdout
    assert json.loads(source.read_text()) == known
    assert (out / "a_b" / "summary.json").stat().st_mtime_ns == whole

    # Nothing but the list says where the files lie.
    for path in out.rglob("*"):
        if path.is_file() and path.name != "pairs.csv":
            assert str(study).encode() not in path.read_bytes()

    # A pair without label maps is not to be evaluated.
    with (out / "pairs.csv").open(newline="") as file:
        assert [(row["fixed"], row["moving"]) for row in csv.DictReader(file)] == [("a", "b"), ("b", "c")]


def test_transforms_that_were_taken_away_are_made_again_and_a_users_file_stays(run, quick, study):
    lines = (study / "pairs.csv").read_text().splitlines()
    (study / "pairs.csv").write_text("\n".join(lines[:2]) + "\n")
    arguments = ["--pairs", study / "pairs.csv", "-o", study / "out", "--workers", "1", *quick]
    assert run("register", *arguments).exit_code == 0
    pair = study / "out" / "a_b"
    whole = (pair / "transform_moving_to_fixed.nii.gz").read_bytes()
    for name in ("transform_moving_to_fixed.nii.gz", "transform_fixed_to_moving.nii.gz.json"):
        (pair / name).unlink()
        assert "already" not in run("register", *arguments).stdout
        assert {file.name for file in pair.iterdir()} == WHOLE | LABELS
    assert (pair / "transform_moving_to_fixed.nii.gz").read_bytes() == whole
    (pair / "transform_moving_to_fixed.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert "already" not in run("register", *arguments).stdout
    assert (pair / "transform_moving_to_fixed.nii.gz").read_bytes() == whole

    (pair / "drawn by hand.nrrd").write_text("hours of work")
    assert "1 pair was there already" in run("register", *arguments).stdout
    (pair / "transform_moving_to_fixed.nii.gz").unlink()
    done = run("register", *arguments)
    assert done.exit_code == 2
    assert (
        "out/a_b holds drawn by hand.nrrd, which is none of the results of a pair: nothing is replaced" in done.stderr
    )
    assert (pair / "drawn by hand.nrrd").read_text() == "hours of work"


@pytest.mark.nightly
def test_what_it_writes_is_what_register_writes(run, quick, study):
    """Within the tolerance of stored transforms, read by SimpleITK."""
    assert run("register", study / "b.nii.gz", study / "c.nii.gz", "-o", study / "one", *quick).exit_code == 0
    (study / "scans").mkdir()
    (study / "c.nii.gz").rename(study / "scans" / "c.nii.gz")
    many = ["--moving-folder", study / "scans", "-o", study / "many", "--workers", "1"]
    done = run("register", study / "b.nii.gz", *many, *quick)
    assert done.exit_code == 0, done.output
    fixed = sitk.ReadImage(str(study / "b.nii.gz"), sitk.sitkFloat32)
    for direction in ("moving_to_fixed", "fixed_to_moving"):
        name = f"transform_{direction}.nii.gz"
        exact = Transform.load(study / "one" / name)
        stored = Transform.load(study / "many" / "b_c" / name)
        assert stored.grid.is_close(exact.grid)
        assert np.linalg.norm(stored.displacement_mm - exact.displacement_mm, axis=-1).max() <= 0.05 + 0.004
    field = sitk.ReadImage(str(study / "many" / "b_c" / "transform_moving_to_fixed.nii.gz"), sitk.sitkVectorFloat64)
    by_itk = sitk.DisplacementFieldTransform(field)
    exact = Transform.load(study / "one" / "transform_moving_to_fixed.nii.gz")
    for voxel in [(0, 0, 0), (5, 6, 7), tuple(n - 1 for n in fixed.GetSize())]:
        point = fixed.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(by_itk.TransformPoint(point), exact.transform_points([point])[0], atol=0.06)


def test_arguments_that_do_not_go_together(refused, study, quick):
    out = ["-o", study / "out", *quick]
    assert "Give FIXED and MOVING" in refused("register", study / "a.nii.gz", *out)
    pairs = ["--pairs", study / "pairs.csv"]
    assert "leave FIXED, MOVING" in refused("register", study / "a.nii.gz", *pairs, *out)
    assert "--fixed-series is for one pair" in refused("register", *pairs, "--fixed-series", "1.2", *out)
    assert "--workers and --scheduler are for many pairs" in refused(
        "register", study / "a.nii.gz", study / "b.nii.gz", "--workers", "2", *out
    )
    assert "give FIXED alone" in refused("register", "--moving-folder", study, *out)
    assert not (study / "out").exists()


def test_a_folder_of_other_settings_or_of_something_else_is_refused(refused, run, study, quick):
    one = study / "one.csv"
    lines = (study / "pairs.csv").read_text().splitlines()
    one.write_text("\n".join(lines[:2]) + "\n")
    out = ["--pairs", one, "-o", study / "out", "--workers", "1", *quick]
    assert run("register", *out).exit_code == 0
    assert "with steps None and not 3" in refused("register", *out, "--steps", "3")
    assert "holds something else" in refused("register", "--pairs", one, "-o", study, "--workers", "1", *quick)
    assert run("register", *out, "--strict").exit_code in (0, 3, 4)

    # Where a disk does not tell capitals apart, batch.json is found by any name.
    (study / "out" / "BATCH.JSON").touch()
    assert "already" in run("register", *out).stdout
    one.write_text("\n".join([*lines[:2], lines[1].replace("a,b,", "A,b,")]) + "\n")
    assert "a_b and A_b would be one folder in" in refused("register", *out)


@pytest.mark.nightly
def test_killed_twice_it_goes_on_and_every_pair_is_whole(quick, study):
    rows = ["fixed,moving,fixed_image,moving_image"]
    rows += [f"{a},{b}{n},{a}.nii.gz,{b}.nii.gz" for n in range(4) for a, b in (("a", "b"), ("b", "c"), ("a", "c"))]
    (study / "many.csv").write_text("\n".join(rows) + "\n")
    out = study / "out"
    arguments = ["register", "--pairs", study / "many.csv", "-o", out, "--workers", "1", *quick]
    command = [sys.executable, "-m", "mics", *map(str, arguments)]
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(out.glob("[abc]_*"))) <= seen:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        whole = list(out.glob("[abc]_*"))
        assert all({file.name for file in pair.iterdir()} == WHOLE for pair in whole)
        assert seen < len(whole) < 12
        seen = len(whole)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("[abc]_*"))) == 12
    assert not list(out.glob(".*"))


@pytest.mark.nightly
def test_workers_of_a_local_cluster_give_the_same(run, quick, study):
    pytest.importorskip("distributed")
    for workers in ("1", "2"):
        done = run("register", "--pairs", study / "pairs.csv", "-o", study / workers, "--workers", workers, *quick)
        assert done.exit_code == 2, done.output
    for name in ("a_b", "b_c"):
        one, two = (Transform.load(study / w / name / "transform_moving_to_fixed.nii.gz") for w in "12")
        np.testing.assert_array_equal(one.displacement_mm, two.displacement_mm)
    assert results(study / "1").keys() == results(study / "2").keys()


def test_what_is_odd_about_a_pair_is_told_with_its_name_and_for_each(run, quick, study, make):
    (study / "pairs.csv").write_text("fixed,moving\na.nii.gz,a.nii.gz\nb.nii.gz,b.nii.gz\na.nii.gz,c.nii.gz\n")
    done = run("register", "--pairs", study / "pairs.csv", "-o", study / "out", "--workers", "1", *quick)
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    same = "The fixed and the moving scan are the same, voxel by voxel: was one of them given twice?"
    assert sorted(told) == [f"Warning: {pair}: {same}" for pair in ("a_a", "b_b")]
