"""Learn2Reg files and scoring: the challenge's conventions, on volumes small enough to check by eye."""

import gzip
import math

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
    score,
    to_transform,
    warp_labels,
    write_displacement,
)
from mics.image.grid import Grid
from mics.image.io import Image

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


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 2), (*SHAPE, 1, 3)])
def test_another_shape_is_refused(tmp_path, shape):
    path = tmp_path / "disp.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="XxYxZx3"):
        read_displacement(path)


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


def test_score_of_a_pair_with_an_absent_and_a_lost_organ():
    fixed, moving = np.zeros((2, 16, 12, 12), dtype=np.uint8)
    fixed[2:6, 2:6, 2:6], moving[5:9, 2:6, 2:6] = 6, 6
    fixed[12:14, 8:10, 8:10], moving[0:2, 8:10, 8:10] = 1, 1
    fixed[9:11, 0:2, 0:2] = 4
    fixed[8:11, 6:9, 2:5], moving[11:14, 6:9, 4:7] = 11, 11
    displacement = np.zeros((3, *fixed.shape), np.float32)
    displacement[0] = 3
    grid = Grid(fixed.shape, (2, 2, 2), (0, 0, 0))
    result = score(Image(fixed, grid), Image(moving, grid), displacement, range(1, 14))
    assert result.dice == pytest.approx({1: 0.0, 6: 1.0, 11: 1 / 3})
    assert result.mean_dice == pytest.approx(4 / 9)
    assert result.hd95_voxels[6] == 0
    assert (result.hd95_voxels[11], result.hd95_mm[11]) == (2, 4)
    assert math.isinf(result.hd95_voxels[1])
    assert math.isinf(result.mean_hd95_voxels)
    assert result.sd_log_jacobian == 0


def test_score_refuses_a_displacement_of_another_size():
    labels = Image(np.zeros((8, 8, 8), np.uint8), Grid((8, 8, 8), (2, 2, 2), (0, 0, 0)))
    with pytest.raises(InputError, match="covers 8x8x9 voxels, the fixed labels 8x8x8"):
        score(labels, labels, np.zeros((3, 8, 8, 9)), [1])


def test_transform_in_mm_and_displacement_in_voxels_are_the_same_map():
    fixed = Grid((6, 5, 4), (2.0, 1.5, 3.0), (10.0, -5.0, 7.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    moving = Grid((7, 6, 5), (1.0, 1.0, 2.0), (8.0, -4.0, 6.0), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1.0))
    mm = np.random.default_rng(0).normal(0, 2, (6, 5, 4, 3)).astype(np.float32)
    voxels = from_transform(Transform(mm, fixed), moving)
    place = np.array([2, 3, 1])
    source = fixed.voxel_to_world(place.astype(float)) + mm[2, 3, 1]
    np.testing.assert_allclose(place + voxels[:, 2, 3, 1], moving.world_to_voxel(source), atol=1e-4)
    np.testing.assert_allclose(to_transform(voxels, fixed, moving).displacement_mm, mm, atol=1e-4)
