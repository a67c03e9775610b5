"""Bad input gets one sentence that names the file, exit code 2, and loses nothing."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.deformation.transform import Transform
from mics.image.grid import Grid


def not_an_image(path, make):
    path.write_bytes(b"This is a letter to the radiologist, not a scan.")


def truncated(path, make):
    content = make(path, np.random.default_rng(0).normal(size=(24, 22, 20)).astype(np.float32)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def two_dimensional(path, make):
    make(path, make.body()[:, :, 10])


def four_dimensional(path, make):
    make(path, np.stack([make.body()] * 2, axis=-1))


def not_a_number(path, make):
    array = make.body()
    array[5, 5, 5] = np.nan
    make(path, array)


def infinite(path, make):
    array = make.body()
    array[5, 5, 5] = np.inf
    make(path, array)


def constant(path, make):
    make(path, np.full((24, 22, 20), 40, np.float32))


def no_overlap(path, make):
    make(path, centre=5000.0)


def absent(path, make):
    pass


SCANS = [not_an_image, truncated, two_dimensional, four_dimensional, not_a_number, infinite, constant, absent]


@pytest.fixture
def scan(tmp_path, make):
    return make(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("spoil", SCANS, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_bad_scan(tmp_path, make, refused, quick, scan, spoil, role):
    bad = tmp_path / "bad.nii.gz"
    spoil(bad, make)
    pair = (bad, scan) if role == "fixed" else (scan, bad)
    assert "bad.nii.gz" in refused("register", *pair, "-o", tmp_path / "new" / "out", *quick)
    assert not (tmp_path / "new").exists()


def test_no_overlap(tmp_path, make, refused, quick, scan):
    far = make(tmp_path / "far.nii.gz", centre=5000.0)
    assert "overlap" in refused("register", scan, far, "-o", tmp_path / "out", *quick)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--fixed-labels", "--moving-labels"])
def test_labels_on_another_grid(tmp_path, make, refused, quick, scan, option):
    labels = make(tmp_path / "labels.nii.gz", np.ones((24, 22, 20), np.uint8), spacing=9.0)
    assert "labels.nii.gz" in refused("register", scan, scan, "-o", tmp_path / "out", *quick, option, labels)
    assert not (tmp_path / "out").exists()


def test_labels_that_are_not_integers(tmp_path, make, refused, quick, scan):
    labels = make(tmp_path / "labels.nii.gz", np.full((24, 22, 20), 0.5, np.float32))
    assert "labels.nii.gz" in refused("register", scan, scan, "-o", tmp_path / "out", *quick, "--fixed-labels", labels)


def write_series(folder, uid, count, start):
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i in range(count):
        image = sitk.GetImageFromArray(np.full((16, 16), i, np.int16))
        tags = {"0008|0060": "CT", "0020|000e": f"1.2.3.{uid}", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.{uid}.{i}"}
        tags |= {"0020|0032": f"0\\0\\{start + 5 * i}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(i)}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{i}.dcm"))
        writer.Execute(image)


def test_a_dicom_folder_with_two_series(tmp_path, refused, quick, scan):
    folder = tmp_path / "study"
    folder.mkdir()
    write_series(folder, 7, 4, 0)
    write_series(folder, 8, 4, 0)
    still, grid = tmp_path / "still.nii.gz", Grid.axis_aligned((0, 0, 0), (15, 15, 15), 5, "LPS")
    Transform(np.zeros((*grid.size, 3), np.float32), grid).save(still)
    message = refused("register", scan, folder, "-o", tmp_path / "out", *quick)
    assert "study" in message
    assert "--moving-series" in message
    assert "1.2.3.8" in message
    assert "no DICOM series 1.2.3.9" in refused(
        *("register", scan, folder, "-o", tmp_path / "out", *quick, "--moving-series", "1.2.3.9")
    )
    assert "no DICOM series 1.2.3.9" in refused(
        *("warp", folder, still, "-o", tmp_path / "warped.nii.gz", "--series", "1.2.3.9")
    )
    assert "is a single file" in refused(
        *("register", scan, folder, "-o", tmp_path / "out", *quick, "--fixed-series", "1.2.3.8")
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_series(tmp_path, refused, quick, scan):
    (tmp_path / "study").mkdir()
    assert "study" in refused("register", scan, tmp_path / "study", "-o", tmp_path / "out", *quick)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there(tmp_path, refused, quick, scan):
    message = refused("register", scan, scan, "-o", tmp_path / "out", *quick, "--device", "cuda:0")
    assert "cuda:0" in message
    assert "cpu" in message.lower()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--device", "abacus"), ("--model", "no-such-model"), ("--affine", "no_such_file.tfm")]
)
def test_an_unknown_setting(tmp_path, refused, quick, scan, option, value):
    # the last of two equal options counts
    assert value in refused("register", scan, scan, "-o", tmp_path / "out", *quick, option, value)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_not_empty(tmp_path, refused, quick, scan):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert "not empty" in refused("register", scan, scan, "-o", tmp_path / "out", *quick)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("place", ["a_file/out", "a_file"])
def test_an_output_folder_that_cannot_be_written(tmp_path, refused, quick, scan, place):
    (tmp_path / "a_file").write_text("in the way")
    assert "cannot be written" in refused("register", scan, scan, "-o", tmp_path / place, *quick)
    assert (tmp_path / "a_file").read_text() == "in the way"


def test_stored_values_are_refused_before_anything_else_is_said(tmp_path, make, refused, quick, scan):
    raw = make(tmp_path / "raw.nii.gz", (make.body() + 1024).clip(0).astype(np.uint16))
    for pair in ((raw, scan), (scan, raw), (raw, raw)):
        message = refused("register", *pair, "-o", tmp_path / "out", *quick)
        assert "raw.nii.gz does not hold Hounsfield units" in message
        assert "subtract about 10" in message
        assert "header" not in message
    assert not (tmp_path / "out").exists()
