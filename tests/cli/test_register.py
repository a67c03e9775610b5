import inspect
import json
import os

import numpy as np
import pytest
import SimpleITK as sitk

from mics.cli.register import register
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration import register as register_module

FILES = {
    "moving_warped.nii.gz",
    "fixed_warped.nii.gz",
    "transform_moving_to_fixed.nii.gz",
    "transform_fixed_to_moving.nii.gz",
    "transform_moving_to_fixed.nii.gz.json",
    "transform_fixed_to_moving.nii.gz.json",
    "summary.json",
    "overview.png",
    "report.html",
}
LABEL_FILES = {"moving_labels_warped.nii.gz", "fixed_labels_warped.nii.gz"}


@pytest.fixture
def pair(tmp_path, make):
    """Two scans on different grids and their label maps."""
    scans = (
        make(tmp_path / "fixed.nii.gz"),
        make(tmp_path / "moving.nrrd", make.body((30, 24, 28)), spacing=8.0, centre=6.0),
    )
    labels = []
    for scan in scans:
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(scan))).T
        spacing, centre = (10.0, 0.0) if scan is scans[0] else (8.0, 6.0)
        path = tmp_path / f"{scan.name.split('.')[0]}_labels.nii.gz"
        labels.append(make(path, (array > 0).astype(np.uint8), spacing=spacing, centre=centre))
    return (*scans, *labels)


def test_everything_is_written_and_other_tools_agree(run, quick, pair, tmp_path):
    fixed, moving, fixed_labels, moving_labels = pair
    out = tmp_path / "deep" / "out"
    (tmp_path / "names.csv").write_text("id,name\n1,soft tissue\n2,what no map shows\n")
    labels = ["--fixed-labels", fixed_labels, "--moving-labels", moving_labels]
    labels += ["--label-names", tmp_path / "names.csv"]
    (tmp_path / "points.csv").write_text("x,y,z\n0,0,0\n10,20,30\n")
    labels += ["--fixed-landmarks", tmp_path / "points.csv", "--moving-landmarks", tmp_path / "points.csv"]
    result = run("register", fixed, moving, "-o", out, *labels, *quick)
    assert result.exit_code == 0, result.output
    assert {file.name for file in out.iterdir()} == FILES | LABEL_FILES

    for source, target, name in ((moving, fixed, "moving_to_fixed"), (fixed, moving, "fixed_to_moving")):
        field = sitk.ReadImage(str(out / f"transform_{name}.nii.gz"), sitk.sitkVectorFloat64)
        image = sitk.ReadImage(str(source), sitk.sitkFloat32)
        reference = sitk.ReadImage(str(target))
        by_itk = sitk.Resample(image, reference, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, -1000.0)
        ours = sitk.ReadImage(str(out / f"{name.split('_')[0]}_warped.nii.gz"))
        assert ours.GetSize() == reference.GetSize()
        difference = np.abs(sitk.GetArrayFromImage(by_itk) - sitk.GetArrayFromImage(ours))
        assert np.percentile(difference, 99) < 1

    summary = json.loads((out / "summary.json").read_text())
    assert summary["inputs"]["fixed"]["path"] == fixed.name
    assert summary["labels"]["moving_to_fixed"]["dice"]["1"] > 0.5
    assert "(labels: 1)" in result.stdout
    assert summary["landmarks"]["tre_mm_affine_only"] == {"mean": 0, "max": 0}
    assert "TRE of 2 landmarks: mean 0.0 →" in result.stdout
    assert summary["label_names"] == {"1": "soft tissue"}
    assert str(out) in result.stdout


def test_names_of_other_labels_are_told(run, quick, pair, tmp_path):
    fixed, moving, *labels = pair
    (tmp_path / "names.json").write_text('{"7": "liver", "9": "spleen"}')
    options = ["--fixed-labels", labels[0], "--moving-labels", labels[1], "--label-names", tmp_path / "names.json"]
    assert run("register", fixed, moving, "-o", tmp_path / "out", *options, *quick).exit_code == 0
    reasons = json.loads((tmp_path / "out" / "summary.json").read_text())["verdict"]["reasons"]
    assert any("No label of the maps is among those that have a name (7 liver, 9 spleen)" in text for text in reasons)


def test_landmarks_that_do_not_match_are_refused(refused, pair, quick, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("x,y,z\n0,0,0\n")
    two.write_text("x,y,z\n0,0,0\n1,1,1\n")
    start = ("register", pair[0], pair[1], "-o", tmp_path / "out", *quick, "--fixed-landmarks", one)
    assert "landmarks of one scan only" in refused(*start)
    assert "has 1 landmark, the moving one 2" in refused(*start, "--moving-landmarks", two)
    assert not (tmp_path / "out").exists()


def test_what_cannot_steer_or_be_followed_is_told_in_flags(refused, pair, quick, tmp_path):
    start = ("register", pair[0], pair[1], "-o", tmp_path / "out", *quick)
    assert "give the label maps of both" in refused(*start, "--refine", "fast", "--steer", "labels")
    labels = ("--fixed-labels", pair[2], "--moving-labels", pair[3])
    assert "use --refine fast or --refine accurate" in refused(*start, *labels, "--steer", "1")
    unknown = refused(*start, *labels, "--refine", "fast", "--steer", "1", "--steer", "liver")
    assert "'liver' is no label of both" in unknown
    assert "or give --label-names" in unknown
    assert "use --refine fast" in refused(*start, "--same-patient")
    lesion = sitk.ReadImage(str(pair[2])) * 0
    lesion[tuple(length // 2 for length in lesion.GetSize())] = 1
    sitk.WriteImage(lesion, str(tmp_path / "lesion.nii.gz"))
    assert "say so by --same-patient" in refused(*start, "--fixed-lesions", tmp_path / "lesion.nii.gz")
    assert "say so by --same-patient" in refused(*start, "--lesions", "exclude")
    assert "use --steer landmarks" in refused(*start, *labels, "--steer", "1", "--landmark-tolerance", "2")
    assert not (tmp_path / "out").exists()


def test_without_labels_there_are_no_label_files_and_no_dice(run, quick, pair, tmp_path):
    result = run("register", pair[0], pair[1], "-o", tmp_path / "out", *quick)
    assert result.exit_code == 0, result.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    assert "Dice" not in result.stdout


def test_options_reach_the_registration(run, quick, pair, tmp_path):
    shift = sitk.TranslationTransform(3, (6.0, 6.0, 6.0))
    sitk.WriteTransform(sitk.AffineTransform(np.eye(3).ravel(), shift.GetOffset()), str(tmp_path / "affine.tfm"))
    options = [*quick, "--affine", tmp_path / "affine.tfm", "--steps", "3", "--device", "cpu", "--topology", "preserve"]
    result = run("register", pair[0], pair[1], "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "out" / "summary.json").read_text())["settings"]
    assert settings["affine"].endswith("affine.tfm")
    assert (settings["steps"], settings["refine"], settings["device"]) == (3, "none", "cpu")
    assert settings["model"]["name"] == "tiny"
    assert settings["topology"] == "preserve"
    beside = tmp_path / "out" / "transform_fixed_to_moving.nii.gz.json"
    content = json.loads(beside.read_text())
    assert content["settings"] == {**settings, "affine": "file"}
    assert content["images"] == {"from": "fixed", "to": "moving"}
    assert content["scans"]["moving"]["grid"]["size"] == [30, 24, 28]
    assert str(tmp_path) not in beside.read_text()
    assert "No fold, by central differences and in every tetrahedron" in result.stdout


def test_the_commands_fit_together(run, quick, pair, tmp_path):
    fixed, moving = pair[:2]
    assert run("register", fixed, moving, "-o", tmp_path / "out", *quick).exit_code == 0
    transform = tmp_path / "out" / "transform_moving_to_fixed.nii.gz"
    assert run("warp", moving, transform, "-o", tmp_path / "again.nii.gz").exit_code == 0
    again, first = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (tmp_path / "again.nii.gz", tmp_path / "out" / "moving_warped.nii.gz")
    )
    assert np.abs(again - first).max() < 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("limited", ["transform_moving_to_fixed.nii.gz", "overview.png"])
def test_results_that_meet_a_quota_are_not_left_half_written(refused, run, quick, pair, tmp_path, limited):
    resource = pytest.importorskip("resource")
    assert run("register", pair[0], pair[1], "-o", tmp_path / "whole", *quick).exit_code == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole" / limited).stat().st_size - 1, before[1]))
    try:
        assert "Cannot write" in refused("register", pair[0], pair[1], "-o", tmp_path / "out", *quick)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_results_go_beside_what_came_into_the_folder_during_the_work(run, quick, pair, tmp_path, monkeypatch):
    out, plain = tmp_path / "out", register_module.register

    def looked_at_meanwhile(*arguments, **settings):
        (out / ".DS_Store").touch()
        (out / "notes.txt").write_text("mine")
        return plain(*arguments, **settings)

    monkeypatch.setattr(register_module, "register", looked_at_meanwhile)
    result = run("register", pair[0], pair[1], "-o", out, *quick)
    assert result.exit_code == 0, result.output
    assert {file.name for file in out.iterdir()} == {".DS_Store", "notes.txt"}
    assert {file.name for file in (tmp_path / "out-2").iterdir()} == FILES
    assert f"Written to {tmp_path / 'out-2'}" in result.stdout.replace("\n", "")


def test_too_little_memory_is_told_before_the_work(refused, quick, pair, tmp_path, monkeypatch):
    monkeypatch.setattr("mics.registration.memory.available_host_bytes", lambda: 1e8)
    assert "memory" in refused("register", pair[0], pair[1], "-o", tmp_path / "out", *quick)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_the_model_that_the_function_takes():
    assert inspect.signature(register).parameters["model"].default == DEFAULT_REGISTRATION
