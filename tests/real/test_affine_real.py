"""The affine of two subjects does not depend on the number of cores."""

import numpy as np
import pytest
import torch

from mics.image.grid import apply_matrix
from mics.image.hounsfield import read_scan
from mics.registration.organ_affine import register_affine_by_organs


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.nightly
def test_one_and_two_threads_end_at_the_same_place(real_data, threads):
    # Two subjects whose cost is flat: sharp volumes led up to 10 mm apart.
    fixed, moving = (
        read_scan(real_data / "AbdomenCTCT" / "imagesTr" / f"AbdomenCTCT_{number}_0000.nii.gz")
        for number in ("0027", "0033")
    )
    body = fixed.grid.voxel_to_world(8 * np.argwhere(fixed.array[::8, ::8, ::8] > -500))
    found = []
    for count in (1, 2):
        threads(count)
        found.append(apply_matrix(register_affine_by_organs(fixed=fixed, moving=moving), body))
    assert np.linalg.norm(found[0] - found[1], axis=1).max() < 0.5
