import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_image, read_labels
from mics.registration import result as result_module
from mics.registration.result import Registration

FIXED = Grid((8, 9, 10), (2.0, 2.0, 3.0), (-8.0, -9.0, 100.0))
MOVING = Grid((7, 8, 6), (2.5, 2.0, 4.0), (-6.0, -9.0, 102.0))
NAMES = {
    "moving_warped.nii.gz",
    "fixed_warped.nii.gz",
    "transform_moving_to_fixed.nii.gz",
    "transform_fixed_to_moving.nii.gz",
    "summary.json",
}
LABELS = {"moving_labels_warped.nii.gz", "fixed_labels_warped.nii.gz"}


def volume(grid, whole=True):
    array = np.random.default_rng(0).normal(0, 300, grid.size).astype(np.float32)
    return Image(np.rint(array) if whole else array, grid)


@pytest.fixture
def registration():
    labels = [Image(np.ones(grid.size, np.uint8), grid) for grid in (FIXED, MOVING)]
    shift = [np.full((*grid.size, 3), 0.3, np.float32) for grid in (FIXED, MOVING)]
    return Registration(
        fixed=volume(FIXED),
        moving=volume(MOVING),
        fixed_labels=labels[0],
        moving_labels=labels[1],
        affine=np.eye(4),
        moving_to_fixed=Transform(shift[0], FIXED),
        fixed_to_moving=Transform(shift[1], MOVING),
        moving_warped=volume(FIXED, whole=False),
        fixed_warped=volume(MOVING, whole=False),
        moving_labels_warped=labels[0],
        fixed_labels_warped=labels[1],
        summary={"folds": {"moving_to_fixed": 0.0}},
    )


def test_other_files_are_written_beside_or_nothing_is(tmp_path, registration):
    registration.save(tmp_path / "out", beside={"note.txt": lambda path: path.write_text("seen")})
    assert {file.name for file in (tmp_path / "out").iterdir()} == NAMES | LABELS | {"note.txt"}
    assert (tmp_path / "out" / "note.txt").read_text() == "seen"

    def fail(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        registration.save(tmp_path / "full", beside={"note.txt": fail})
    assert not list((tmp_path / "full").iterdir())


def test_everything_is_written_under_its_name_on_its_grid(tmp_path, registration):
    registration.save(tmp_path / "a" / "out")
    assert {file.name for file in (tmp_path / "a" / "out").iterdir()} == NAMES | LABELS
    out = tmp_path / "a" / "out"
    assert read_image(out / "moving_warped.nii.gz").grid.is_close(FIXED)
    assert read_image(out / "fixed_warped.nii.gz").grid.is_close(MOVING)
    assert read_labels(out / "moving_labels_warped.nii.gz").grid.is_close(FIXED)
    assert read_labels(out / "fixed_labels_warped.nii.gz").grid.is_close(MOVING)
    assert Transform.load(out / "transform_moving_to_fixed.nii.gz").grid.is_close(FIXED)
    assert Transform.load(out / "transform_fixed_to_moving.nii.gz").grid.is_close(MOVING)
    assert json.loads((out / "summary.json").read_text()) == registration.summary


def test_without_labels_no_label_map_is_written(tmp_path, registration):
    dataclasses.replace(registration, moving_labels_warped=None, fixed_labels_warped=None).save(tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == NAMES


def test_scans_of_whole_numbers_stay_so_and_others_too(tmp_path, registration):
    dataclasses.replace(registration, fixed=volume(FIXED, whole=False)).save(tmp_path)
    types = {name: sitk.ReadImage(str(tmp_path / f"{name}_warped.nii.gz")).GetPixelID() for name in ("moving", "fixed")}
    assert types == {"moving": sitk.sitkInt16, "fixed": sitk.sitkFloat32}
    written = read_image(tmp_path / "moving_warped.nii.gz").array
    np.testing.assert_allclose(written, registration.moving_warped.array, atol=0.5001)


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, registration):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        registration.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_if_the_disk_is_full_half_way_nothing_is_left(tmp_path, monkeypatch, registration):
    def full(image, path):
        raise InputError(f"Cannot write {path}: No space left on device.")

    written = []
    monkeypatch.setattr(
        result_module, "write_image", lambda image, path: written.append(path) if not written else full(image, path)
    )
    with pytest.raises(InputError, match="No space left"):
        registration.save(tmp_path)
    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []
