"""A subject in another's shape: the organs come to lie on the other's, and the labels stay those of the scan."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from mics.data.phantom import phantom
from mics.deformation.field import compose, identity
from mics.deformation.jacobian import fold_share
from mics.errors import InputError
from mics.evaluation.metrics import dice
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import LIVER, ORGAN_NAMES
from mics.pipeline.reshape import _on_voxels, fit, reshaped

GRID = Grid.axis_aligned((-184, -152, -248), (184, 152, 248), 16, "LAS")


@pytest.fixture(scope="module")
def source_case():
    return phantom(1, GRID)


@pytest.fixture(scope="module")
def target():
    return phantom(2, GRID).labels


@pytest.fixture(scope="module")
def displacement(source_case, target):
    return fit(source_case.labels, target, tuple(ORGAN_NAMES))


def inner(labels: np.ndarray, organ: int) -> np.ndarray:
    """Voxels so deep in an organ that no interpolation reaches beyond it."""
    return ndimage.binary_erosion(labels == organ, np.ones((3, 3, 3)), iterations=1)


@pytest.mark.nightly
def test_the_organs_overlap_much_better_than_before(source_case, target, displacement):
    _, labels = reshaped(source_case.image, source_case.labels, displacement)
    before = dice(target.array, source_case.labels.array, ORGAN_NAMES)
    after = dice(target.array, labels.array, ORGAN_NAMES, moving_labels=source_case.labels.array)
    assert np.mean(list(after.values())) > np.mean(list(before.values())) + 0.2
    assert after[LIVER] > 0.85
    assert fold_share(displacement) < 1e-3


@pytest.mark.nightly
def test_the_labels_belong_to_the_scan(source_case, displacement):
    """Where a scan that shows one organ alone is at its brightest, all that was interpolated is that organ; at zero, none."""
    whole = 0
    for organ in ORGAN_NAMES:
        bright = Image(np.where(source_case.labels.array == organ, 1000, 0), GRID)
        hu, labels = reshaped(bright, source_case.labels, displacement)
        whole += np.count_nonzero(hu.array == 1000)
        assert (labels.array[hu.array == 1000] == organ).all(), organ
        assert (labels.array[hu.array == 0] != organ).all(), organ
        assert np.mean((hu.array > 500) == (labels.array == organ)) > 0.98, organ
    assert whole > 50
    assert (hu.array.dtype, labels.array.dtype) == (np.int16, np.uint8)


@pytest.mark.nightly
def test_the_liver_keeps_its_intensities(source_case, displacement):
    hu, labels = reshaped(source_case.image, source_case.labels, displacement)
    before = source_case.image.array[inner(source_case.labels.array, LIVER)]
    after = hu.array[inner(labels.array, LIVER)]
    assert abs(np.median(after) - np.median(before)) < 3
    # Interpolation takes away part of the noise.
    assert 0.5 * before.std() < after.std() < 1.1 * before.std()


def test_beyond_the_grid_there_is_air_and_no_organ():
    image = Image(np.full((8, 8, 8), 30, np.float32), Grid((8, 8, 8), (2, 2, 2), (0, 0, 0)))
    image.array[0, 0, 0] = -125
    labels = Image(np.full((8, 8, 8), LIVER, np.uint8), image.grid)
    shift = torch.tensor([3.0, 0, 0]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)
    hu, moved = reshaped(image, labels, shift)
    assert (hu.array[5:] == -125).all()
    assert (moved.array[5:] == 0).all()
    np.testing.assert_array_equal(hu.array[:5], image.array[3:])
    np.testing.assert_array_equal(moved.array[:5], labels.array[3:])


def test_a_displacement_of_blocks_moves_the_voxels_in_them():
    """Block X of two voxels has its middle at 2 X + 0.5, and an affine displacement of one is an affine one of the other."""
    slope = torch.tensor([0.1, -0.2, 0.3]).view(1, 3, 1, 1, 1)
    fine = _on_voxels(1.5 + slope * identity((8, 7, 6)), 2, (16, 14, 12))
    expected = 3.0 + slope * (identity((16, 14, 12)) - 0.5)
    middle = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(fine[middle], expected[middle])


def test_voxels_that_are_no_cubes_are_refused():
    flat = Image(np.ones((8, 8, 8), np.uint8), Grid((8, 8, 8), (2, 2, 5), (0, 0, 0)))
    with pytest.raises(InputError, match="no multiple"):
        fit(flat, flat, (1,))


@pytest.mark.nightly
def test_half_of_the_way_twice_is_all_of_it_and_back_again_is_none(source_case, target, displacement):
    organs = tuple(ORGAN_NAMES)
    half, back = (fit(source_case.labels, target, organs, share) for share in (0.5, -0.5))
    far = displacement.norm(dim=1).mean()
    assert (compose(half, half) - displacement).norm(dim=1).mean() < 0.1 * far
    # Up to interpolation, which does not become smaller with the way.
    assert compose(back, half).norm(dim=1).mean() < 0.01
