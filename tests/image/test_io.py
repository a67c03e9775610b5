import contextlib
import os
import stat
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_image, read_labels, write_image, write_labels

resource = pytest.importorskip("resource") if os.name != "nt" else None

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]
HU = np.random.default_rng(0).integers(-1000, 1500, size=(7, 6, 5)).astype(np.float32)


def save_nifti(path, array=HU, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2, 2, 3, 1]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_is_read_back(tmp_path, grid, suffix, smooth_image):
    image, path = smooth_image(grid), tmp_path / f"scan{suffix}"
    write_image(image, path)
    read = read_image(path)
    assert np.array_equal(read.array, image.array)
    assert read.array.dtype == np.float32
    assert read.grid.is_close(grid)


def test_nibabel_sees_the_same_voxels_in_the_same_places(tmp_path, grid, smooth_image):
    image, path = smooth_image(grid), tmp_path / "scan.nii.gz"
    write_image(image, path)
    nifti = nibabel.load(path)
    assert np.array_equal(nifti.get_fdata(dtype=np.float32), image.array)
    ras = nibabel.affines.apply_affine(nifti.affine, [[0, 0, 0], [3, 4, 5]])
    np.testing.assert_allclose(ras * [-1, -1, 1], grid.voxel_to_world([[0, 0, 0], [3, 4, 5]]), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_type_of_the_values_stays(tmp_path, grids, dtype):
    image = Image(np.arange(30, dtype=dtype).reshape(2, 3, 5), Grid((2, 3, 5), (1, 1, 1), (0, 0, 0)))
    write_image(image, tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").get_data_dtype() == dtype


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 255, "u1"), (-1, 4, "i2"), (0, 40000, "u2"), (0, 70000, "i4"), (0, 3 * 10**9, "u4"), (0, 2**40, "i8")],
)
def test_64_bit_integers_become_the_smallest_type_that_holds_them(tmp_path, low, high, expected):
    array = np.full((2, 3, 5), low)
    array[1, 2, 3] = high
    assert array.dtype == np.int64
    write_image(Image(array, Grid((2, 3, 5), (1, 1, 1), (0, 0, 0))), tmp_path / "a.nii.gz")
    nifti = nibabel.load(tmp_path / "a.nii.gz")
    assert nifti.get_data_dtype() == expected
    assert np.array_equal(np.asarray(nifti.dataobj), array)


def test_labels_are_written_in_the_smallest_type(tmp_path):
    labels = Image(np.arange(30, dtype=np.int32).reshape(2, 3, 5), Grid((2, 3, 5), (1, 1, 1), (0, 0, 0)))
    write_labels(labels, tmp_path / "a.nii.gz")
    nifti = nibabel.load(tmp_path / "a.nii.gz")
    assert nifti.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(nifti.dataobj), labels.array)


@pytest.mark.parametrize("dtype", [">i2", ">u4", ">f4", ">f8", "f2", ">f2", "g"])
def test_arrays_of_any_byte_order_and_width_are_written(tmp_path, dtype):
    array = np.arange(30).reshape(2, 3, 5).astype(dtype)
    write_image(Image(array, Grid((2, 3, 5), (1, 1, 1), (0, 0, 0))), tmp_path / "a.nii.gz")
    assert np.array_equal(nibabel.load(tmp_path / "a.nii.gz").get_fdata(), array)


@pytest.mark.parametrize("dtype", [complex, object, "U3"])
def test_what_is_no_number_is_refused(tmp_path, dtype):
    with pytest.raises(InputError, match="real numbers"):
        write_image(Image(np.zeros((2, 3, 5), dtype), Grid((2, 3, 5), (1, 1, 1), (0, 0, 0))), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_truth_values_become_zero_and_one(tmp_path):
    mask = np.indices((3, 4, 5)).sum(axis=0) % 2 == 0
    write_image(Image(mask, Grid((3, 4, 5), (1, 1, 1), (0, 0, 0))), tmp_path / "mask.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz").array, mask)


def test_rescaling_in_the_header_is_applied(tmp_path):
    nifti = nibabel.Nifti1Image((HU + 1024).astype(np.uint16), np.eye(4))
    nifti.header.set_slope_inter(1, -1024)
    nifti.header["scl_slope"], nifti.header["scl_inter"] = 1, -1024
    path = tmp_path / "rescaled.nii"
    nibabel.save(nifti, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 1, -1024)  # nibabel applies the scale to what it writes; put the plain one back
    voxels = (HU + 1024).astype(np.uint16).tobytes(order="F")
    path.write_bytes(bytes(raw[:352]) + voxels)
    assert np.array_equal(read_image(path).array, HU)


def test_an_array_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(InputError, match="does not fit"):
        Image(HU, Grid((5, 6, 7), (1, 1, 1), (0, 0, 0)))
    with pytest.raises(InputError, match="not a list"):
        Image(HU.tolist(), Grid(HU.shape, (1, 1, 1), (0, 0, 0)))


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_integers_whatever_holds_them(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, 14, size=(7, 6, 5))
    read = read_labels(save_nifti(tmp_path / "labels.nii.gz", labels.astype(dtype)))
    assert np.issubdtype(read.array.dtype, np.integer)
    assert np.array_equal(read.array, labels)


def test_labels_beside_an_integer_are_rounded(tmp_path):
    labels = np.random.default_rng(0).integers(0, 14, size=(7, 6, 5))
    nearly = labels + np.random.default_rng(1).uniform(-9e-4, 9e-4, size=labels.shape)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(read_labels(save_nifti(tmp_path / "labels.nii.gz", nearly.astype(dtype))).array, labels)


def test_large_labels_in_floating_point_stay_what_they_are(tmp_path):
    labels = np.zeros((4, 5, 6))
    labels[1, 2, 3] = 3e9
    assert read_labels(save_nifti(tmp_path / "labels.nii.gz", labels)).array.max() == 3_000_000_000


@pytest.mark.parametrize("value", [0.5, 1.002, 1e30, np.nan, np.inf])
def test_labels_that_are_not_integers(tmp_path, value):
    array = np.zeros((4, 5, 6), np.float32)
    array[2, 2, 2] = value
    path = save_nifti(tmp_path / "labels.nii.gz", array)
    with pytest.raises(InputError, match=r"not a label map|NaN or infinite"):
        read_labels(path)


def test_an_empty_label_map_is_allowed(tmp_path):
    assert not read_labels(save_nifti(tmp_path / "labels.nii.gz", np.zeros((4, 5, 6), np.uint8))).array.any()


# --- writing ----------------------------------------------------------------------------------------------------------


def test_writing_leaves_nothing_else_and_replaces_what_was_there(tmp_path, smooth_image, grids):
    first, second = smooth_image(grids["lps"], 1), smooth_image(grids["ras"], 2)
    write_image(first, tmp_path / "scan.nii.gz")
    write_image(second, tmp_path / "scan.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
    assert np.array_equal(read_image(tmp_path / "scan.nii.gz").array, second.array)


def test_a_failed_write_keeps_the_old_file(tmp_path, smooth_image, grids, monkeypatch):
    path = tmp_path / "scan.nii.gz"
    write_image(smooth_image(grids["lps"]), path)
    before = path.read_bytes()

    def half_written(itk, name, **options):
        with open(name, "wb") as file:
            file.write(b"half")
        raise RuntimeError("Exception thrown in SimpleITK WriteImage:\nITK ERROR: disk full")

    monkeypatch.setattr(sitk, "WriteImage", half_written)
    with pytest.raises(InputError, match="disk full"):
        write_image(smooth_image(grids["ras"]), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_folder_that_is_not_there(tmp_path, smooth_image, grids):
    with pytest.raises(InputError, match="Cannot write"):
        write_image(smooth_image(grids["lps"]), tmp_path / "none" / "scan.nii.gz")


def test_an_unknown_ending(tmp_path, smooth_image, grids):
    with pytest.raises(InputError, match="kind of file"):
        write_image(smooth_image(grids["lps"]), tmp_path / "scan.jpg")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("missing", [1, 100, 6000])
def test_a_file_that_meets_a_limit_is_noticed_and_taken_away(tmp_path, grids, suffix, missing):
    noise = np.random.default_rng(0).integers(-1000, 1500, grids["lps"].size).astype(np.int16)
    image, path = Image(noise, grids["lps"]), tmp_path / f"scan{suffix}"
    write_image(image, path)
    whole = path.stat().st_size
    path.unlink()
    with limited_to(whole - missing), pytest.raises(InputError, match="Cannot write"):
        write_image(image, path)
    assert not list(tmp_path.iterdir())
    with limited_to(whole):
        write_image(image, path)
    assert np.array_equal(read_image(path).array, noise)


@contextlib.contextmanager
def limited_to(length):
    """The system's limit on the size of files, as of a quota; Python ignores the signal, so that writing fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("cut", [1, 4, 9, 40])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_library_that_writes_less_without_a_word_is_noticed(tmp_path, smooth_image, grids, monkeypatch, suffix, cut):
    plain = sitk.WriteImage

    def short(itk, name, **options):
        plain(itk, name, **options)
        os.truncate(name, os.path.getsize(name) - cut)

    monkeypatch.setattr(sitk, "WriteImage", short)
    with pytest.raises(InputError, match="cut short"):
        write_image(smooth_image(grids["lps"]), tmp_path / f"scan{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scan.NII.GZ", "scan.Nii", "scan.MHA", "scan.nii.GZ", "scan.Nrrd"])
def test_an_ending_in_capitals_is_refused_and_the_right_one_named(tmp_path, smooth_image, grids, name):
    with pytest.raises(InputError, match=name.lower().replace(".", r"\.")):
        write_image(smooth_image(grids["lps"]), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "other"), [("scan.mhd", ".mha"), ("scan.nhdr", ".nrrd"), ("scan.MHD", ".mha")])
def test_a_header_apart_from_its_voxels_is_not_written(tmp_path, smooth_image, grids, name, other):
    with pytest.raises(InputError, match=f"use {other}"):
        write_image(smooth_image(grids["lps"]), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_others_may_read_what_is_written(tmp_path, smooth_image, grids):
    write_image(smooth_image(grids["lps"]), tmp_path / "scan.nii.gz")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "scan.nii.gz").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
