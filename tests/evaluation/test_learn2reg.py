"""Learn2Reg files and scoring: the challenge's conventions, on volumes small enough to check by eye."""

import gzip

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.learn2reg import (
    displacement_name,
    from_transform,
    read_displacement,
    require_displacement_of,
    to_transform,
    warp_labels,
    write_displacement,
)
from mics.image.grid import Grid

SHAPE = (6, 5, 4)


def test_names_are_those_of_the_two_scripts():
    assert displacement_name("0027", "0033") == "disp_0027_0000_0033_0000.nii.gz"
    assert displacement_name("0027", "0033", script="2020") == "disp_0027_0033.nii.gz"


def test_file_is_what_the_challenge_script_expects(tmp_path):
    displacement = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    path = tmp_path / displacement_name("0001", "0002")
    write_displacement(displacement, path)
    on_disk = nibabel.load(path).get_fdata()
    assert on_disk.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(on_disk[..., 1], displacement[1])
    np.testing.assert_array_equal(read_displacement(path), displacement)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        (SHAPE, "has XxYxZx3"),
        ((*SHAPE, 2), "has XxYxZx3"),
        ((*SHAPE, 1, 3), "ITK's kind of field, in mm"),
        ((3, *SHAPE), "move the first axis to the end"),
        ((4, 5, 6, 3), "reverse order"),
        ((3, 3, 2, 3), "half the resolution"),
        ((6, 5, 5, 3), "every voxel of the fixed volume"),
    ],
)
def test_another_shape_is_refused_with_advice(tmp_path, shape, advice):
    path = tmp_path / "disp.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match=advice):
        read_displacement(path, SHAPE)
    with pytest.raises(InputError, match=advice):
        require_displacement_of(gzip.decompress(path.read_bytes())[:348], SHAPE, "disp.nii.gz")


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "disp.nii.gz"
    write_displacement(np.full((3, *SHAPE), np.nan, np.float32), path)
    with pytest.raises(InputError, match="finite"):
        read_displacement(path)
    path.write_bytes(gzip.compress(np.random.default_rng(0).bytes(5000))[:3000])
    with pytest.raises(InputError, match=r"disp\.nii\.gz cannot be read"):
        read_displacement(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_displacement(tmp_path / "missing.nii.gz")


def test_labels_are_pulled_as_the_challenge_pulls_them():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 14, SHAPE).astype(np.uint8)
    displacement = rng.normal(0, 1.5, (3, *SHAPE)).astype(np.float32)
    identity = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    expected = ndimage.map_coordinates(labels, np.array(identity) + displacement, order=0)
    np.testing.assert_array_equal(warp_labels(labels, displacement), expected)

    displacement = np.zeros((3, *SHAPE), np.float32)
    displacement[2] = 1
    warped = warp_labels(labels, displacement)
    np.testing.assert_array_equal(warped[..., :-1], labels[..., 1:])
    assert not warped[..., -1].any()


def test_transform_in_mm_and_displacement_in_voxels_are_the_same_map():
    fixed = Grid((6, 5, 4), (2.0, 1.5, 3.0), (10.0, -5.0, 7.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    moving = Grid((7, 6, 5), (1.0, 1.0, 2.0), (8.0, -4.0, 6.0), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1.0))
    mm = np.random.default_rng(0).normal(0, 2, (6, 5, 4, 3)).astype(np.float32)
    voxels = from_transform(Transform(mm, fixed), moving)
    place = np.array([2, 3, 1])
    source = fixed.voxel_to_world(place.astype(float)) + mm[2, 3, 1]
    np.testing.assert_allclose(place + voxels[:, 2, 3, 1], moving.world_to_voxel(source), atol=1e-4)
    np.testing.assert_allclose(to_transform(voxels, target=fixed, source=moving).displacement_mm, mm, atol=1e-4)
