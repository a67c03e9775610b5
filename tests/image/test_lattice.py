import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from mics.image.grid import Grid
from mics.image.io import from_itk, to_itk
from mics.image.lattice import is_part_of


def test_what_itk_crops_flips_and_permutes_is_a_part(smooth_image, grid):
    whole = to_itk(smooth_image(grid))
    for order, flipped in itertools.product(itertools.permutations(range(3)), ([False] * 3, [True, False, True])):
        cropped = sitk.Crop(whole, [2, 0, 3], [1, 4, 0])
        part = from_itk(sitk.Flip(sitk.PermuteAxes(cropped, order), flipped)).grid
        assert is_part_of(part, grid)
        assert not is_part_of(grid, part)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": (1.0, 0.0, 0.0)},  # half a voxel aside
        {"origin": (-2.0, 0.0, 0.0)},  # beyond by one
        {"spacing": (4.0, 2.0, 2.5)},  # every second voxel
        {"spacing": (2.0, 2.0, 2.51)},
        {"direction": (np.cos(0.01), -np.sin(0.01), 0, np.sin(0.01), np.cos(0.01), 0, 0, 0, 1)},
        {"size": (22, 20, 17)},
    ],
)
def test_voxels_of_other_places_sizes_and_directions_are_none(change):
    whole = {"size": (22, 20, 16), "spacing": (2.0, 2.0, 2.5), "origin": (0.0, 0.0, 0.0)}
    assert is_part_of(Grid(**whole), Grid(**whole))
    own = {**whole, "size": (10, 10, 8), **change}
    assert not is_part_of(Grid(**own), Grid(**whole))
