"""`mics register --repeat`: the same bytes from the same inputs, and a sentence for whatever is not as it was."""

import json
import shutil
import time

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.data.phantom import phantom
from mics.data.phantom.scanner import network_grid
from mics.image.io import write_image, write_labels
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import save_model

VOLUMES = {
    "moving_warped.nii.gz",
    "fixed_warped.nii.gz",
    "moving_labels_warped.nii.gz",
    "fixed_labels_warped.nii.gz",
    "transform_moving_to_fixed.nii.gz",
    "transform_fixed_to_moving.nii.gz",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two scans, their label maps, and a tiny network."""
    folder = tmp_path_factory.mktemp("pair")
    for name, spacing, shape in (("fixed", 10.0, (24, 22, 20)), ("moving", 8.0, (30, 24, 28))):
        axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) for n in shape], indexing="ij")
        inside = sum(axis**2 for axis in axes) < 1
        volumes = {
            "": np.where(inside, 60 + 40 * axes[0], -1000).astype(np.float32),
            "_labels": inside.astype(np.uint8),
        }
        for ending, array in volumes.items():
            image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
            image.SetSpacing([spacing] * 3)
            sitk.WriteImage(image, str(folder / f"{name}{ending}.nii.gz"))
    torch.manual_seed(0)
    network = build(MICSConfig(channels=(4, 8)))
    torch.nn.init.normal_(network.gradient_head.weight, std=0.2)
    save_model(network, {"spacing_mm": 10.0, "hu_range": None, "steps": 2}, folder / "tiny.safetensors")
    return folder


@pytest.fixture(scope="module")
def first(files, tmp_path_factory):
    """What is repeated: the folder of a registration."""
    from typer.testing import CliRunner

    from mics.cli.main import app

    out = tmp_path_factory.mktemp("first") / "out"
    settings = ["--affine", "none", "--refine", "none", "--steps", "1", "--topology", "preserve"]
    result = CliRunner().invoke(app, [*map(str, arguments(files)), "-o", str(out), *settings])
    assert result.exit_code == 0, result.output
    return out


def arguments(files):
    labels = ["--fixed-labels", files / "fixed_labels.nii.gz", "--moving-labels", files / "moving_labels.nii.gz"]
    return ["register", files / "fixed.nii.gz", files / "moving.nii.gz", *labels, "--model", files / "tiny.safetensors"]


def changed(files, folder, name, change):
    """A copy of the files in which one volume is another."""
    copy = folder / "files"
    shutil.copytree(files, copy)
    image = sitk.ReadImage(str(copy / name))
    sitk.WriteImage(change(image), str(copy / name))
    return copy


def with_summary(first, folder, **changes):
    content = json.loads((first / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**content, **changes}))
    return folder / "summary.json"


def test_the_bytes_are_the_same(run, files, first, tmp_path):
    time.sleep(1.1)  # whatever holds a time holds another one
    result = run(*arguments(files), "-o", tmp_path / "again", "--repeat", first / "summary.json")
    assert result.exit_code == 0, result.output
    again = tmp_path / "again"
    assert {path.name for path in again.glob("*.nii.gz")} == VOLUMES
    for name in VOLUMES:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name
    assert "The same bytes as in" in result.stdout
    assert "Warning" not in result.stderr
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (first, again))
    for key in ("settings", "inputs", "geometry", "folds", "labels", "environment"):
        assert after[key] == before[key], key


def test_scans_elsewhere_and_in_another_format_are_the_same_scans(run, files, first, tmp_path):
    copy = changed(files, tmp_path, "fixed.nii.gz", lambda image: image)
    image = sitk.ReadImage(str(copy / "moving.nii.gz"))
    sitk.WriteImage(image, str(copy / "moving.mha"))
    words = [copy / "moving.mha" if word == copy / "moving.nii.gz" else word for word in arguments(copy)]
    result = run(*words, "-o", tmp_path / "again", "--repeat", first / "summary.json")
    assert result.exit_code == 0, result.output
    assert "The same bytes as in" in result.stdout


def test_another_result_is_told(run, files, first, tmp_path):
    beside = tmp_path / "beside"
    shutil.copytree(first, beside)
    other = beside / "moving_warped.nii.gz"
    other.write_bytes((first / "fixed_warped.nii.gz").read_bytes())
    result = run(*arguments(files), "-o", tmp_path / "again", "--repeat", beside / "summary.json")
    assert result.exit_code == 0, result.output
    assert "Warning: Not the same bytes as in" in result.stderr
    assert "moving_warped.nii.gz" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("fixed.nii.gz", lambda image: image + 1, "The fixed scan was changed"),
        ("moving_labels.nii.gz", lambda image: image * 2, "The moving label map was changed"),
    ],
)
def test_a_changed_input_is_refused(refused, files, first, tmp_path, name, change, expected):
    copy = changed(files, tmp_path, name, change)
    message = refused(*arguments(copy), "-o", tmp_path / "again", "--repeat", first / "summary.json")
    assert expected in message
    assert not (tmp_path / "again").exists()


def moved(image):
    image.SetOrigin([10.0, 0.0, 0.0])
    return image


def test_a_changed_header_is_refused(refused, files, first, tmp_path):
    copy = changed(files, tmp_path, "moving.nii.gz", moved)
    words = [word for word in arguments(copy) if "label" not in str(word)]
    bare = tmp_path / "bare"
    bare.mkdir()
    content = json.loads((first / "summary.json").read_text())
    for scan in content["inputs"].values():
        scan["labels_sha256"] = None
    summary = with_summary(first, bare, inputs=content["inputs"])
    assert "its header places them elsewhere" in refused(*words, "-o", tmp_path / "again", "--repeat", summary)


def test_exchanged_scans_are_told(refused, files, first, tmp_path):
    command, fixed, moving, *_, model = arguments(files)
    words = [command, moving, fixed, "--model", model]
    assert "exchanged" in refused(*words, "-o", tmp_path / "again", "--repeat", first / "summary.json")


def test_what_is_missing_or_new_is_told(refused, files, first, tmp_path):
    command, fixed, moving, *_, model = arguments(files)
    words = [command, fixed, moving, "--model", model, "-o", tmp_path / "again", "--repeat"]
    assert "--fixed-labels" in refused(*words, first / "summary.json")
    (tmp_path / "points.csv").write_text("x,y,z\n60,60,60\n80,90,100\n")
    points = ["--fixed-landmarks", tmp_path / "points.csv", "--moving-landmarks", tmp_path / "points.csv"]
    words = [*arguments(files), *points, "-o", tmp_path / "again", "--repeat", first / "summary.json"]
    assert "was made without landmarks of the fixed scan: leave --fixed-landmarks out" in refused(*words)


@pytest.mark.nightly
def test_affine_refinement_and_steering_give_the_same_bytes(run, tmp_path):
    """Two digital patients, led by an organ and by landmarks."""
    scans, labels, landmarks = [], [], []
    for role, seed in (("fixed", 1), ("moving", 2)):
        patient = phantom(seed, network_grid(8.0))
        write_image(patient.image, tmp_path / f"{role}.nii.gz")
        write_labels(patient.labels, tmp_path / f"{role}_labels.nii.gz")
        middles = [patient.labels.grid.points()[patient.labels.array == organ].mean(axis=0) for organ in (1, 2, 3)]
        rows = "".join(",".join(f"{mm:.3f}" for mm in middle) + "\n" for middle in middles)
        (tmp_path / f"{role}.csv").write_text("x,y,z\n" + rows)
        scans.append(tmp_path / f"{role}.nii.gz")
        labels += [f"--{role}-labels", tmp_path / f"{role}_labels.nii.gz"]
        landmarks += [f"--{role}-landmarks", tmp_path / f"{role}.csv"]
    inputs = ["register", *scans, *labels, *landmarks]
    settings = ["--model", "mics-fast", "--steer", "6", "--steer", "landmarks", "--landmark-tolerance", "3"]
    out, again = tmp_path / "out", tmp_path / "again"
    assert run(*inputs, *settings, "-o", out).exit_code == 0
    result = run(*inputs, "--repeat", out / "summary.json", "-o", again)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.glob("*.nii.gz")} == VOLUMES
    for name in VOLUMES:
        assert (out / name).read_bytes() == (again / name).read_bytes(), name


def test_another_network_is_refused(refused, files, first, tmp_path):
    torch.manual_seed(1)
    other = tmp_path / "tiny.safetensors"
    save_model(build(MICSConfig(channels=(4, 8))), {"spacing_mm": 10.0, "hu_range": None, "steps": 2}, other)
    *words, _ = arguments(files)
    assert "is another one" in refused(*words, other, "-o", tmp_path / "again", "--repeat", first / "summary.json")
    *words, _, _ = arguments(files)
    assert "--model" in refused(*words, "-o", tmp_path / "again", "--repeat", first / "summary.json")


@pytest.mark.parametrize(
    "option", [("--refine", "fast"), ("--steps", "2"), ("--device", "auto"), ("--pairs", "list.csv")]
)
def test_settings_are_the_summarys(refused, files, first, tmp_path, option):
    words = [*arguments(files), "-o", tmp_path / "again", "--repeat", first / "summary.json", *option]
    assert f"leave {option[0]} out" in refused(*words)


def test_an_affine_that_the_summary_names_is_left_out(refused, files, first, tmp_path):
    words = [*arguments(files), "-o", tmp_path / "again", "--repeat", first / "summary.json", "--affine", "none"]
    assert "leave --affine out" in refused(*words)


def test_the_folder_of_the_summary_is_not_written_into(refused, files, first):
    words = [*arguments(files), "-o", first, "--repeat", first / "summary.json", "--force"]
    assert "holds the summary" in refused(*words)
    assert {path.name for path in first.glob("*.nii.gz")} == VOLUMES


def test_another_version_and_other_threads_are_told(run, files, first, tmp_path):
    content = json.loads((first / "summary.json").read_text())
    surroundings = {**content["environment"], "threads": 99}
    summary = with_summary(first, tmp_path, mics_version="0.1.0", environment=surroundings)
    result = run(*arguments(files), "-o", tmp_path / "again", "--repeat", summary)
    assert result.exit_code == 0, result.output
    assert "was written by MICS 0.1.0" in result.stderr
    assert "threads 99, now" in result.stderr
    assert "no volumes and transforms to compare with" in result.stdout


def test_a_summary_of_an_earlier_schema_is_told(run, files, first, tmp_path):
    """Of the same version's number, as of one that is not released yet."""
    result = run(
        *arguments(files), "-o", tmp_path / "again", "--repeat", with_summary(first, tmp_path, schema_version=1)
    )
    assert result.exit_code == 0, result.output
    assert "(schema_version 1), and this is" in " ".join(result.stderr.split())
    assert "the result may be another one" in " ".join(result.stderr.split())


def test_a_summary_without_checksums_or_of_own_stages_is_refused(refused, files, first, tmp_path):
    content = json.loads((first / "summary.json").read_text())
    del content["inputs"]["fixed"]["voxels_sha256"]
    summary = with_summary(first, tmp_path, inputs=content["inputs"])
    assert "no checksums" in refused(*arguments(files), "-o", tmp_path / "again", "--repeat", summary)
    summary = with_summary(first, tmp_path, stages={"mine": {}})
    assert "stages of one's own" in refused(*arguments(files), "-o", tmp_path / "again", "--repeat", summary)
