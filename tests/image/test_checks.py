"""Bad input: one sentence each."""

import gzip
import os
import struct
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mics.errors import InputError
from mics.image.checks import is_valid_affine
from mics.image.io import read_image, read_itk, read_labels, write_image

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]
HU = np.random.default_rng(0).integers(-1000, 1500, size=(7, 6, 5)).astype(np.float32)


def save_nifti(path, array=HU, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2, 2, 3, 1]) if affine is None else affine), path)
    return path


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "itk" not in text.lower().replace(str(path).lower(), "")


def test_missing_file(tmp_path):
    refused(tmp_path / "nowhere.nii.gz", "does not exist")


def test_unknown_kind_of_file(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(b"x")
    refused(path, "NIfTI")


@pytest.mark.parametrize("suffix", FORMATS)
def test_not_an_image(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    content = b"this is not an image " * 40
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    refused(path, "cannot be read as an image")


def test_empty_file(tmp_path):
    (tmp_path / "scan.nii").touch()
    refused(tmp_path / "scan.nii", "cannot be read as an image")
    (tmp_path / "scan.nii.gz").touch()
    refused(tmp_path / "scan.nii.gz", "cannot be read|cut short")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_file(tmp_path, suffix, kept, smooth_image, grids):
    # SimpleITK alone reads a cut NIfTI file without complaint
    path = tmp_path / f"scan{suffix}"
    write_image(smooth_image(grids["lps"]), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    refused(path, "cut short|cannot be read")


def test_damaged_gzip(tmp_path, smooth_image, grids):
    path = tmp_path / "scan.nii.gz"
    write_image(smooth_image(grids["lps"]), path)
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 0xFF  # the length that gzip notes at the end
    path.write_bytes(damaged)
    refused(path, "damaged")


def test_gzip_that_is_whole_around_a_short_volume(tmp_path):
    save_nifti(tmp_path / "whole.nii")
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress((tmp_path / "whole.nii").read_bytes()[:-40]))
    refused(path, "cut short")


def test_two_and_four_dimensions(tmp_path):
    refused(save_nifti(tmp_path / "plane.nii.gz", HU[..., 0]), "2D")
    refused(save_nifti(tmp_path / "slice.nii.gz", HU[..., :1]), "2D")
    refused(save_nifti(tmp_path / "phases.nii.gz", np.stack([HU, HU], axis=-1)), "4D")


def test_one_value_is_one(tmp_path):
    with pytest.raises(InputError, match="it has 1 value per voxel instead of 3"):
        read_itk(save_nifti(tmp_path / "scan.nii.gz", HU), pixel=sitk.sitkVectorFloat32, components=3)


def test_one_phase_in_four_dimensions_is_a_volume(tmp_path):
    assert np.array_equal(read_image(save_nifti(tmp_path / "one.nii.gz", HU[..., None])).array, HU)


def test_colour(tmp_path):
    itk = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(itk, str(tmp_path / "colour.nrrd"))
    refused(tmp_path / "colour.nrrd", "3 values per voxel instead of 1")
    # 3D Slicer keeps segments that overlap as values of one voxel.
    (tmp_path / "colour.nrrd").rename(tmp_path / "colour.seg.nrrd")
    refused(tmp_path / "colour.seg.nrrd", "holds segments that overlap, in 3 layers")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_number(tmp_path, value, suffix, grids, smooth_image):
    # SimpleITK alone reads them as 0 from a NIfTI file
    image = smooth_image(grids["lps"])
    image.array[0, 0, 0] = image.array[3, 2, 1] = image.array[-1, -1, -1] = value
    write_image(image, tmp_path / f"scan{suffix}")
    refused(tmp_path / f"scan{suffix}", "3 NaN or infinite voxels")


def test_voxels_that_are_no_number_in_a_big_endian_file(tmp_path):
    array = HU.copy()
    array[1, 2, 3] = np.nan
    for name, voxels in {"sound": HU, "bad": array}.items():
        header = nibabel.Nifti1Header(endianness=">")
        header.set_data_dtype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4), header), tmp_path / f"{name}.nii")
    assert (tmp_path / "bad.nii").read_bytes()[:4] == struct.pack(">i", 348)
    refused(tmp_path / "bad.nii", "1 NaN or infinite voxels")
    assert np.array_equal(read_image(tmp_path / "sound.nii").array, HU)


def test_constant_image(tmp_path):
    refused(save_nifti(tmp_path / "scan.nii.gz", np.full((4, 5, 6), -1000, np.int16)), "constant")


def test_nifti_without_orientation(tmp_path):
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(HU, None), path)
    refused(path, "no orientation")


def test_nifti_with_one_of_both_orientations_is_enough(tmp_path):
    affine = np.diag([-2.0, -2, 3, 1])
    for name, (qform, sform) in {"q": (1, 0), "s": (0, 2)}.items():
        nifti = nibabel.Nifti1Image(HU, affine)
        nifti.set_qform(affine if qform else None, qform)
        nifti.set_sform(affine if sform else None, sform)
        nibabel.save(nifti, tmp_path / f"{name}.nii.gz")
        assert read_image(tmp_path / f"{name}.nii.gz").grid.orientation == "LPS"


def test_nrrd_and_metaimage_without_orientation(tmp_path):
    voxels = HU.tobytes(order="F")
    nrrd, mha = tmp_path / "scan.nrrd", tmp_path / "scan.mha"
    nrrd.write_bytes(
        b"NRRD0004\ntype: float\ndimension: 3\nsizes: 7 6 5\nencoding: raw\nendian: little\nspacings: 1 1 2\n\n"
        + voxels
    )
    mha.write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 7 6 5\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n" + voxels
    )
    refused(nrrd, "no orientation")
    refused(mha, "no orientation")


@pytest.mark.parametrize(
    "rows",
    [
        (1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0),  # two rows of the sform alike
        (1, 0, 0, 0, 0, 2.4e-41, 2.4e-38, 0, 0, 0, 3, 0),  # noise, found by fuzzing: a tilted gantry by its numbers
        (1, 0, 0, 0, 0, 1e-9, 0, 0, 0, 0, 3, 0),
    ],
)
def test_degenerate_direction(tmp_path, rows):
    nifti = nibabel.Nifti1Image(HU, np.eye(4))
    nifti.set_qform(None, 0)
    path = tmp_path / "scan.nii"
    nibabel.save(nifti, path)
    raw = bytearray(path.read_bytes())
    raw[280:328] = struct.pack("<12f", *rows)
    path.write_bytes(raw)
    refused(path, "degenerate direction")


@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3), spacing=st.tuples(*[st.floats(0.05, 50)] * 3), flat=st.integers(0, 2)
)
@example(turn=(45.0, 0.0, 0.0), spacing=(1.0, 0.05, 50.0), flat=0)
def test_axes_span_the_space_however_they_turn_and_whatever_their_voxels(turn, spacing, flat):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    assert is_valid_affine(matrix)
    matrix[:3, flat] = matrix[:3, flat - 1] - 0.5 * matrix[:3, flat - 2]  # in the plane of the other two
    assert not is_valid_affine(matrix)
    matrix[:3, flat] = 0
    assert not is_valid_affine(matrix)


def test_a_left_handed_direction_is_read_as_it_is(tmp_path):
    # i runs toward the patient's right: legal in NIfTI, and DICOM's rotation matrices cannot say it
    path = save_nifti(tmp_path / "scan.nii.gz", affine=np.diag([2.0, -2, 3, 1]))
    image = read_image(path)
    assert image.grid.orientation == "RPS"
    assert np.array_equal(image.array, HU)
    np.testing.assert_allclose(image.grid.voxel_to_world([1, 1, 1]), [-2, 2, 3])


def test_slightly_skewed_axes_are_straightened(tmp_path):
    affine = np.diag([-2.0, -2, 3, 1])
    affine[0, 1], affine[:3, 3] = 0.01, [30, 40, 50]
    path = save_nifti(tmp_path / "scan.nii.gz", affine=affine)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))
    image = read_image(path)
    assert np.array_equal(image.array, HU)
    true = nibabel.affines.apply_affine(affine, [[0, 0, 0], [6, 5, 4]]) * [-1, -1, 1]
    np.testing.assert_allclose(image.grid.voxel_to_world([[0, 0, 0], [6, 5, 4]]), true, atol=0.03)


def test_skewed_axes_excuse_nothing_else(tmp_path):
    affine = np.diag([-2.0, -2, 3, 1])
    affine[0, 1] = 0.01
    assert (
        read_image(save_nifti(tmp_path / "one.nii.gz", HU[..., None].astype(np.float64), affine)).array.shape
        == HU.shape
    )
    assert read_image(tmp_path / "one.nii.gz").array.dtype == np.float32
    refused(save_nifti(tmp_path / "phases.nii.gz", np.stack([HU, HU], axis=-1), affine), "4D")
    path = save_nifti(tmp_path / "cut.nii.gz", HU, affine)
    path.write_bytes(path.read_bytes()[:-60])
    refused(path, "damaged")
    array = HU.copy()
    array[0, 0, 0] = np.nan
    refused(save_nifti(tmp_path / "holes.nii.gz", array, affine), "1 NaN or infinite")


@pytest.mark.parametrize(
    "shears", [{(1, 2): 1.0, (0, 1): 0.6, (0, 2): 0.8}, {(1, 2): 3.0}], ids=["three pairs", "45 degrees"]
)
def test_sheared_axes_that_no_gantry_makes_are_refused(tmp_path, shears):
    affine = np.diag([-2.0, -2, 3, 1])
    for place, shear in shears.items():
        affine[place] = shear
    refused(
        save_nifti(tmp_path / "scan.nii.gz", affine=affine), r"sheared \(its axes are not at right angles, by up to"
    )


def test_names_that_are_not_utf8(tmp_path):
    # ITK ends the process for such a name
    for suffix in FORMATS:
        path = tmp_path / os.fsdecode(b"J\xfcrgen" + suffix.encode())
        path.touch()
        with pytest.raises(InputError, match=r"J\\xfcrgen.* is not UTF-8: rename it") as error:
            read_image(path)
        str(error.value).encode()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    refused(tmp_path / "scan.nii.gz", "is a pipe or a device")


@pytest.mark.parametrize("target", ["scan.nii.gz", "gone.nii.gz"])
def test_a_link_that_leads_nowhere(tmp_path, target):
    (tmp_path / "scan.nii.gz").symlink_to(target)
    refused(tmp_path / "scan.nii.gz", f"is a link to {target}, which leads to no file")


def test_a_volume_of_more_than_three_metres_is_read_with_a_word(tmp_path):
    path = save_nifti(tmp_path / "scan.nii.gz", affine=np.diag([-2.0, -2, 3000, 1]))
    with pytest.warns(UserWarning, match=r"scan\.nii\.gz is \d+\.\d m long \(voxels of 2 x 2 x 3000 mm\)"):
        assert read_image(path).grid.spacing[2] == 3000


@pytest.mark.parametrize("spacing", [(0.08, 0.08, 0.5), (0.0008, 0.0008, 0.005)], ids=["centimetres", "metres"])
def test_a_volume_of_tiny_voxels_is_read_with_a_word(tmp_path, spacing):
    path = save_nifti(tmp_path / "scan.nii.gz", affine=np.diag([*spacing, 1]))
    with pytest.warns(UserWarning, match=r"voxels of 0\.\d+ x .* mm, finer than any CT .* millimetres\?"):
        assert np.allclose(read_image(path).grid.spacing, spacing)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_place_where_no_patient_lies(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    volume = sitk.GetImageFromArray(np.random.default_rng(0).normal(0, 100, (5, 6, 7)).astype(np.float32))
    volume.SetOrigin((-50_000.0, 20.0, 30.0))
    sitk.WriteImage(volume, str(path))
    with pytest.warns(UserWarning, match=r"first voxel at LPS -50000 20 30 mm, 50 m from the origin"):
        np.testing.assert_allclose(read_image(path).grid.origin, (-50_000, 20, 30))
    volume.SetOrigin((10.0, 20.0, -1e20))
    sitk.WriteImage(volume, str(path))
    with pytest.raises(InputError, match=r"first voxel at LPS 10 20 -1e\+20 mm, where no patient lies"):
        read_image(path)


@pytest.mark.parametrize(("background", "shift"), [(255, 0), (1, 1), (0, 0)])
def test_labels_without_background_are_told(tmp_path, background, shift):
    labels = np.full((8, 9, 10), background, np.uint8)
    labels[2:5, 2:5, 2:5], labels[5:7, 5:7, 5:7] = 1 + shift, 2 + shift
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([-2.0, -2, 2, 1])), tmp_path / "labels.nii.gz")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii.gz").array, labels)
    share = f"{np.mean(labels == background):.0%}"
    said = [str(warning.message) for warning in caught]
    assert len(said) == (background != 0)
    assert all(
        f"no background: 0 is nowhere, and {background} is at all corners and in {share}" in text for text in said
    )


def test_labels_of_one_value_have_no_word(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.diag([-2.0, -2, 2, 1])), tmp_path / "mask.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_labels(tmp_path / "mask.nii.gz")
