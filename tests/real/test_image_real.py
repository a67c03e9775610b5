"""Scans as hospitals have them: read, resample, transform."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import read_image, read_labels
from mics.image.resample import inside, resample

NATIVE = {"img0005": "label0005", "img0031": "label0031", "totalsegmentator_example_ct": "totalsegmentator_example_seg"}
LIVER = {"label0005": 6, "label0031": 6, "totalsegmentator_example_seg": 5}


@pytest.mark.nightly
@pytest.mark.parametrize("name", NATIVE)
def test_the_liver_is_on_the_right_of_a_native_scan(real_data, name):
    image = read_image(real_data / "native" / f"{name}.nii.gz")
    labels = read_labels(real_data / "native" / f"{NATIVE[name]}.nii.gz")
    assert labels.grid.is_close(image.grid)
    liver = np.argwhere(labels.array == LIVER[NATIVE[name]]).mean(axis=0)
    body = np.argwhere(image.array > -100).mean(axis=0)
    assert image.grid.voxel_to_world(liver)[0] < image.grid.voxel_to_world(body)[0] - 20
    inside_liver = image.array[labels.array == LIVER[NATIVE[name]]]
    assert 0 < np.median(inside_liver) < 200


def test_the_headers_of_the_challenge_mirror_the_patient(real_data):
    """What the cohort's adapter has to know: by its header, the liver of this scan lies on the left."""
    folder = real_data / "AbdomenCTCT" / "labelsTr"
    labels = read_labels(min(folder.glob("*.nii.gz")))
    liver = labels.grid.voxel_to_world(np.argwhere(labels.array == 6).mean(axis=0))
    assert liver[0] > labels.grid.centre[0]


def test_a_native_transform_is_applied_as_simpleitk_applies_it(real_data, tmp_path):
    fixed = read_image(real_data / "native" / "totalsegmentator_example_ct.nii.gz")
    moving = read_image(real_data / "native" / "img0039.nii.gz")
    displacement = 3 * torch.nn.functional.interpolate(
        torch.randn(1, 3, 6, 6, 6, generator=torch.Generator().manual_seed(0)), size=fixed.grid.size, mode="trilinear"
    )
    shift = torch.tensor(fixed.grid.world_to_voxel(fixed.grid.centre) - fixed.grid.world_to_voxel(moving.grid.centre))
    transform = Transform.from_voxels(displacement - shift.view(1, 3, 1, 1, 1), fixed.grid)
    transform.save(tmp_path / "field.nii.gz")
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64))
    volumes = [sitk.ReadImage(str(real_data / "native" / name), sitk.sitkFloat32)
               for name in ("totalsegmentator_example_ct.nii.gz", "img0039.nii.gz")]  # fmt: skip
    theirs = sitk.GetArrayFromImage(sitk.Resample(volumes[1], volumes[0], field, sitk.sitkLinear, -1000)).transpose(
        2, 1, 0
    )
    ours = transform.transform_image(moving).array
    same_side = (ours == -1000) == (theirs == -1000)
    assert same_side.mean() > 0.9999
    assert (ours != -1000).mean() > 0.5
    assert np.abs(ours - theirs)[same_side].max() < 1.0  # HU; between voxels of real CT the steps are of hundreds


def test_a_scan_on_the_networks_grid_keeps_its_organs_in_place(real_data):
    labels = read_labels(real_data / "native" / "label0039.nii.gz")
    corners = labels.grid.corners()
    coarse = Grid.axis_aligned(corners.min(axis=0), corners.max(axis=0), 4.0)
    moved = resample(labels, coarse, nearest=True, outside=0)
    assert coarse.orientation == "LAS"
    assert inside(labels.grid, coarse).mean() > 0.9
    for organ in (1, 6, 8):
        before = labels.grid.voxel_to_world(np.argwhere(labels.array == organ).mean(axis=0))
        after = coarse.voxel_to_world(np.argwhere(moved.array == organ).mean(axis=0))
        np.testing.assert_allclose(after, before, atol=2)  # half a voxel of the coarse grid
