"""3D Slicer's module without Slicer: its logic on a scene of files, held by SimpleITK, and real `mics` processes."""

import importlib
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = Path(__file__).parents[2]
SHIFT = (20.0, -10.0, 10.0)  # mm, from a place in the fixed scan to that in the moving one


@pytest.fixture
def library(monkeypatch):
    """A module of the module's, by name."""
    monkeypatch.syspath_prepend(ROOT / "slicer" / "MICS")
    return lambda name: importlib.import_module(f"MICSLib.{name}")


class FileScene:
    """As Slicer's, each node a dictionary. Masks and volumes are SimpleITK's, points LPS mm."""

    def __init__(self, segment):
        self.segment = segment

    def name(self, node):
        return node["name"]

    def is_under_transform(self, node):
        return node.get("moved", False)

    def save_volume(self, node, path):
        sitk.WriteImage(node["image"], str(path))

    def save_points(self, node, path):
        points = [{"id": str(i), "label": f"p{i}", "position": list(p)} for i, p in enumerate(node["points"])]
        markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}
        path.write_text(json.dumps({"markups": [markup]}))

    def save_segments(self, node, volume, folder):
        segments = []
        for name, mask in node["masks"].items():
            sitk.WriteImage(sitk.Resample(mask, volume["image"]), str(folder / f"{name}.nrrd"))
            segments.append(self.segment(folder / f"{name}.nrrd", f"the {name}", (1.0, 0.5, 0.0)))
        return segments

    def load_volume(self, path, name):
        return {"name": name, "image": sitk.ReadImage(str(path))}

    def load_points(self, path, name):
        control = json.loads(path.read_text())["markups"][0]["controlPoints"]
        return {"name": name, "points": [point["position"] for point in control]}

    def load_segments(self, segments, volume, name):
        masks = {segment.name: sitk.ReadImage(str(segment.path)) for segment in segments}
        assert {mask.GetSize() for mask in masks.values()} == {volume["image"].GetSize()}
        return {"name": name, "masks": masks}

    def load_transform(self, path, name):
        # As vtkMRMLTransformStorageNode does: an ITK displacement image, LPS, is the transform from parent.
        field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
        return {"name": name, "from_parent": sitk.DisplacementFieldTransform(field)}


@pytest.fixture
def nodes(make, tmp_path):
    """A body and the same body shifted, with two overlapping segments and two points of the shifted one."""
    fixed = sitk.ReadImage(str(make(tmp_path / "f.nii.gz")))
    moving = sitk.Image(fixed)
    moving.SetOrigin([o + s for o, s in zip(fixed.GetOrigin(), SHIFT, strict=True)])
    masks = {"left": sitk.Cast(moving > 60, sitk.sitkUInt8), "all": sitk.Cast(moving > 0, sitk.sitkUInt8)}
    return {
        "fixed": {"name": "day 1", "image": fixed},
        "moving": {"name": "day 2", "image": moving},
        "segmentation": {"name": "organs", "masks": masks},
        "points": {"name": "marks", "points": [[20.0, -10.0, 10.0], [55.0, 5.0, -20.0]]},
    }


def run(job):
    lines = []
    while not job.poll(lines.append):
        time.sleep(0.05)
    return lines


@pytest.mark.nightly
def test_volumes_segments_and_points_are_carried_the_right_way(library, nodes, quick, tmp_path):
    affine = sitk.TranslationTransform(3, SHIFT)
    sitk.WriteTransform(affine, str(tmp_path / "shift.tfm"))
    job, environment = library("job"), library("environment").Environment(sys.executable, ROOT / "src")
    options = (*map(str, quick), "--affine", str(tmp_path / "shift.tfm"))
    scene = FileScene(job.Segment)
    one = job.Job(scene, environment, job.Inputs(**nodes, options=options), tmp_path / "work")
    one.start()
    lines = run(one)
    found = one.results()
    assert any("Reading" in line for line in lines)
    forward, backward = found.moving_to_fixed["from_parent"], found.fixed_to_moving["from_parent"]
    # A moving volume put under the node lies on the fixed one: from parent, the fixed point goes to the moving one.
    np.testing.assert_allclose(forward.TransformPoint((0.0, 0.0, 0.0)), SHIFT, atol=8)
    np.testing.assert_allclose(backward.TransformPoint(SHIFT), (0.0, 0.0, 0.0), atol=8)
    for node, name in ((found.warped, "day 2 on day 1"), (found.segmentation, "organs on day 1")):
        assert node["name"] == name
    fixed, moving = nodes["fixed"]["image"], nodes["moving"]["image"]
    expected = sitk.Resample(moving, fixed, forward, sitk.sitkLinear, -1000.0)
    difference = sitk.GetArrayFromImage(expected) - sitk.GetArrayFromImage(found.warped["image"])
    assert np.abs(difference).max() < 1
    assert set(found.segmentation["masks"]) == {"the left", "the all"}
    for name, mask in nodes["segmentation"]["masks"].items():
        expected = sitk.GetArrayFromImage(sitk.Resample(mask, fixed, forward, sitk.sitkNearestNeighbor, 0))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found.segmentation["masks"][f"the {name}"]), expected)
        assert expected.any()
    expected = [backward.TransformPoint(point) for point in nodes["points"]["points"]]
    np.testing.assert_allclose(found.points["points"], expected, atol=1e-2)
    assert found.verdict in ("good", "look", "failed")
    assert found.report.is_file()


def test_what_cannot_be_meant_is_said_before_anything_runs(library, nodes, tmp_path):
    job = library("job")
    fixed, moving = nodes["fixed"], nodes["moving"]
    for number, (inputs, message) in enumerate(
        [
            (job.Inputs(None, moving), "two different volumes"),
            (job.Inputs(fixed, fixed), "two different volumes"),
            (job.Inputs(fixed, {**moving, "moved": True}), "day 2 is under a transform: harden it"),
        ]
    ):
        with pytest.raises(job.JobError, match=message):
            job.Job(FileScene(job.Segment), None, inputs, tmp_path / str(number)).start()


def test_the_commands_own_sentence_is_told_and_a_long_run_can_be_stopped(library, tmp_path):
    job, process = library("job"), library("process")
    lines = ["   1.0 s  Reading", "Error: fixed.nrrd is empty:", "give another."]
    assert job.failure(lines, 2) == "fixed.nrrd is empty: give another."
    assert job.failure([], 139) == "It ended with code 139: without a word"
    script = "import sys, time; print('begun', flush=True); print('half', end='', flush=True); time.sleep(60)"
    one = process.Process([sys.executable, "-c", script], tmp_path / "log.txt")
    until = time.monotonic() + 30
    lines = []
    while not lines and time.monotonic() < until:
        lines = one.new_lines()
    assert lines == ["begun"]  # not the half line
    assert one.code is None
    one.stop()
    assert one.code not in (None, 0)
    failed = process.Process([sys.executable, "-c", "import sys; sys.exit('no')"], tmp_path / "log.txt")
    while failed.code is None:
        time.sleep(0.02)
    assert (failed.code, failed.new_lines()) == (1, ["no"])


def test_the_package_is_installed_by_pip_into_its_own_folder(library, tmp_path):
    """A wheel made by hand, without what it needs: pip, the folder, and what runs from there are real."""
    wheel = tmp_path / "mics_registration-9.9-py3-none-any.whl"
    about = "mics_registration-9.9.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mics/__init__.py", "")
        archive.writestr("mics/__main__.py", "import mics, sys; print(mics.__file__, sys.argv[1:])")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mics-registration\nVersion: 9.9\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    environment = library("environment").Environment(sys.executable, tmp_path / "own")
    assert not environment.has(wheel)
    subprocess.run(environment.install(wheel), check=True, capture_output=True)
    assert environment.has(wheel)
    out = subprocess.run(environment.mics("register", Path("a b")), check=True, capture_output=True, text=True).stdout
    assert out.split() == [str(tmp_path / "own" / "mics" / "__init__.py"), "['register',", "'a", "b']"]
