"""Fields of vectors as other programs write them, which are no displacements in LPS millimetres."""

import os
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.read_formats import read_transform
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid

RAS = np.array([[-1.5, 0, 0, 40], [0, -1.5, 0, 60], [0, 0, 2.0, -300], [0, 0, 0, 1]])
SIZE = (12, 11, 10)
VOXELS = np.moveaxis(np.indices(SIZE), 0, -1)
PLACES_RAS = VOXELS @ RAS[:3, :3].T + RAS[:3, 3]
PLACES_LPS = PLACES_RAS * [-1, -1, 1]
BUMP = 4 * np.exp(-(((VOXELS - 5) / 3.0) ** 2).sum(-1))[..., None] * [1, -0.5, 0.7]


def nifti(path, vectors, name="", intent=1007, kind=np.float32):
    image = nibabel.Nifti1Image(vectors[:, :, :, None, :].astype(kind), RAS)
    image.header.set_intent(intent, name=name)
    nibabel.save(image, path)
    return path


def itk(path, vectors, kind=np.float32):
    field = sitk.GetImageFromArray(np.ascontiguousarray(vectors.transpose(2, 1, 0, 3).astype(kind)), isVector=True)
    field.SetSpacing((1.5, 1.5, 2.0))
    field.SetOrigin((-40.0, -60.0, -300.0))
    sitk.WriteImage(field, str(path), useCompression=False)
    return path


@pytest.mark.parametrize("load", [Transform.load, read_transform])
@pytest.mark.parametrize(
    ("name", "message"), [("NREG_TRANS", "transform of NiftyReg .* NREG_TRANS[)]"), ("Mapping", "SPM .* Mapping[)]")]
)
def test_transforms_that_their_headers_name(tmp_path, load, name, message):
    with pytest.raises(InputError, match=message):
        load(nifti(tmp_path / "y_scan.nii", BUMP, name))


@pytest.mark.parametrize("load", [Transform.load, read_transform])
@pytest.mark.parametrize(
    ("intent", "what"), [(1008, "places"), (2003, "colours"), (1010, "quaternions"), (3, "statistic")]
)
def test_an_intent_of_other_vectors(tmp_path, load, intent, what):
    path = tmp_path / "field.nii.gz"
    nifti(path, BUMP)
    image = nibabel.load(path)
    image.header["intent_code"] = intent
    nibabel.save(image, path)
    with pytest.raises(InputError, match=rf"calls its values .*{what} \(intent_code {intent}\)"):
        load(path)


@pytest.mark.parametrize("load", [Transform.load, read_transform])
def test_a_warp_of_fsl(tmp_path, load):
    with pytest.raises(InputError, match="warp of FSL"):
        load(nifti(tmp_path / "fnirt.nii.gz", BUMP, intent=2007))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(("places", "frame"), [(PLACES_RAS, "RAS"), (PLACES_LPS, "LPS")])
def test_places_in_place_of_displacements(tmp_path, suffix, places, frame):
    """Moved or not."""
    for number, vectors in enumerate((places, places + BUMP)):
        path = tmp_path / f"{number}{suffix}"
        (nifti if suffix == ".nii.gz" else itk)(path, vectors)
        with pytest.raises(InputError, match=f"holds places .{frame} mm., not displacements"):
            Transform.load(path)


@pytest.mark.parametrize("move", [0, 1])
def test_places_counted_in_voxels(tmp_path, move):
    vectors = VOXELS + move * BUMP / [1.5, 1.5, 2.0]
    with pytest.raises(InputError, match="holds places counted in voxels, not displacements"):
        Transform.load(itk(tmp_path / "field.mha", vectors))


def test_displacements_as_scaled_integers_without_a_sign_are_read(tmp_path):
    """With a slope and an intercept these have one."""
    image = nibabel.Nifti1Image(BUMP[:, :, :, None], RAS)
    image.header.set_intent(1007)
    image.set_data_dtype(np.uint16)
    nibabel.save(image, tmp_path / "field.nii.gz")
    np.testing.assert_allclose(Transform.load(tmp_path / "field.nii.gz").displacement_mm, BUMP, atol=1e-3)


@pytest.mark.parametrize("linear", [0.2 * np.eye(3), -0.4 * np.eye(3), np.diag([-2.0, -2.0, 0.0]), np.ones((3, 3)) / 4])
def test_displacements_that_grow_stretch_or_turn_are_read(tmp_path, linear):
    vectors = PLACES_LPS @ linear.T + BUMP + [100, -30, 7]
    loaded = Transform.load(itk(tmp_path / "field.mha", vectors))
    np.testing.assert_allclose(loaded.displacement_mm, vectors, atol=1e-3)


@pytest.mark.parametrize("path", ["colours.nrrd", "colours.mha", "colours.nii"])
def test_values_without_a_sign_are_no_displacements(tmp_path, path):
    make = nifti if path.endswith(".nii") else itk
    with pytest.raises(InputError, match="not a displacement field: its values have no sign"):
        Transform.load(make(tmp_path / path, np.abs(BUMP), kind=np.uint8))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"left-posterior-superior", b"right-anterior-superior", "placed in right-anterior-superior"),
        (b"encoding:", b"measurement frame: (-1,0,0) (0,-1,0) (0,0,1)\nencoding:", "in another frame"),
        (b"encoding:", b"measurement frame: (1,0,0) (0,1,0) (0,0,1)\nencoding:", None),
    ],
)
def test_the_frame_of_an_nrrd_fields_vectors(tmp_path, old, new, message):
    path = itk(tmp_path / "field.nrrd", BUMP)
    raw = path.read_bytes()
    assert b"measurement frame" not in raw[:500]
    path.write_bytes(raw.replace(old, new, 1))
    if message is None:
        np.testing.assert_allclose(Transform.load(path).displacement_mm, BUMP, atol=1e-6)
        return
    with pytest.raises(InputError, match=message):
        Transform.load(path)


@pytest.mark.parametrize("kept", [0, 10, 100, 200, -20])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_field_that_was_cut_short_is_told_in_a_sentence(tmp_path, suffix, kept):
    path = tmp_path / f"field{suffix}"
    (nifti if suffix.startswith(".nii") else itk)(path, BUMP)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"field\{suffix} "):
        Transform.load(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "field.nii.gz")
    with pytest.raises(InputError, match="is a pipe"):
        Transform.load(tmp_path / "field.nii.gz")


def test_a_patient_made_twice_as_large_about_his_middle_is_a_displacement(tmp_path):
    vectors = PLACES_LPS - PLACES_LPS.mean((0, 1, 2))
    found = Transform.load(itk(tmp_path / "growth.nrrd", vectors))
    np.testing.assert_allclose(found.displacement_mm, vectors, atol=1e-4)


def test_what_is_known_to_be_ours_is_a_displacement_whatever_it_looks_like(tmp_path):
    grid = Grid(SIZE, (1.5, 1.5, 2.0), (-9.0, -8.0, -10.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    scan = KnownScan(grid, "0" * 64)
    made = Provenance("moving", "fixed", {"moving": scan, "fixed": scan}, {})
    twice = Transform(grid.points().astype(np.float32), grid)
    twice.save(tmp_path / "plain.nii.gz")
    with pytest.raises(InputError, match="holds places"):
        Transform.load(tmp_path / "plain.nii.gz")
    twice.known_as(made).save(tmp_path / "ours.nii.gz")
    np.testing.assert_allclose(
        Transform.load(tmp_path / "ours.nii.gz").displacement_mm, twice.displacement_mm, atol=0.002
    )


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (0, "moves nothing: its displacements are 0 everywhere"),
        (1e-3, r"moves by 0\.0\d+ mm at most along an axis: are its displacements millimetres"),
        (1e3, r"moves by 4e\+03 mm at most along an axis: are its displacements millimetres"),
    ],
)
def test_displacements_in_other_units_or_none_are_told(tmp_path, times, message):
    with pytest.warns(UserWarning, match=rf"field\.mha {message}"):
        read_transform(itk(tmp_path / "field.mha", BUMP * times))


def test_small_displacements_of_our_own_are_taken_without_a_word(tmp_path):
    field = Transform.load(itk(tmp_path / "field.mha", BUMP * 1e-3))
    scan = KnownScan(field.grid, "0" * 64)
    field.known_as(Provenance("moving", "fixed", {"moving": scan, "fixed": scan}, {})).save(tmp_path / "ours.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_transform(tmp_path / "ours.nii.gz")
