"""Overlap, regularity and inverse consistency on cases worked out by hand, and against the challenge's formula."""

import math

import numpy as np
import pytest
from scipy import ndimage

from mics.deformation.transform import Transform
from mics.evaluation.metrics import dice, hd95, inverse_consistency_mm, sd_log_jacobian
from mics.image.grid import Grid

SHAPE = (12, 10, 14)


def box(label, start, stop, volume=None):
    volume = np.zeros(SHAPE, dtype=np.uint8) if volume is None else volume
    volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = label
    return volume


def test_dice_of_boxes_that_overlap_by_half():
    fixed, warped = box(3, (2, 2, 2), (6, 6, 6)), box(3, (4, 2, 2), (8, 6, 6))
    assert dice(fixed, warped, [3]) == {3: 0.5}


def test_a_label_absent_from_either_volume_has_no_score():
    fixed, moving = box(1, (0, 0, 0), (3, 3, 3)), box(1, (0, 0, 0), (3, 3, 3))
    box(2, (6, 6, 6), (8, 8, 8), fixed)
    box(4, (6, 6, 6), (8, 8, 8), moving)
    assert dice(fixed, moving, [1, 2, 4, 5]) == {1: 1.0}
    assert hd95(fixed, moving, [1, 2, 4, 5]) == {1: 0.0}


def test_a_label_that_the_warp_loses_scores_zero_and_infinity():
    fixed = moving = box(1, (0, 0, 0), (3, 3, 3))
    warped = np.zeros_like(fixed)
    assert dice(fixed, warped, [1], moving_labels=moving) == {1: 0.0}
    assert math.isinf(hd95(fixed, warped, [1], moving_labels=moving)[1])
    assert dice(fixed, warped, [1]) == {}


def test_hd95_is_in_units_of_spacing():
    fixed, warped = box(1, (2, 0, 0), (4, 10, 14)), box(1, (7, 0, 0), (9, 10, 14))
    assert hd95(fixed, warped, [1]) == {1: 5.0}
    assert hd95(fixed, warped, [1], (2, 1, 1)) == {1: 10.0}


def challenge_sd_log_jacobian(displacement):
    """The challenge's formula, with full zero-padded correlations."""
    difference = np.array([-0.5, 0, 0.5])
    gradient = np.stack(
        [
            [
                ndimage.correlate(c, difference.reshape(np.roll((3, 1, 1), axis)), mode="constant", cval=0)
                for c in displacement
            ]
            for axis in range(3)
        ]
    )
    jacobian = np.moveaxis(gradient + np.eye(3).reshape(3, 3, 1, 1, 1), (0, 1), (-2, -1))[2:-2, 2:-2, 2:-2]
    return np.log((np.linalg.det(jacobian) + 3).clip(1e-9, 1e9)).std()


@pytest.mark.parametrize("strength", [1, 10])
@pytest.mark.parametrize("shape", [SHAPE, (71, 6, 7)])
def test_sd_log_jacobian_matches_the_challenge(strength, shape):
    rng = np.random.default_rng(0)
    displacement = strength * np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 1) for _ in range(3)])
    expected = challenge_sd_log_jacobian(displacement)
    assert expected > 0.01
    assert sd_log_jacobian(displacement.astype(np.float32)) == pytest.approx(expected, rel=1e-5)


def test_sd_log_jacobian_of_a_scaling_is_zero_and_of_a_quadratic_is_known():
    x = np.indices(SHAPE, dtype=np.float32)
    assert sd_log_jacobian(0.5 * x) == pytest.approx(0, abs=1e-6)
    displacement = np.zeros((3, *SHAPE), dtype=np.float32)
    displacement[0] = 0.05 * x[0] ** 2
    # Central differences are exact on a quadratic: |J| = 1 + 0.1 x on the inner voxels 2 … 9.
    assert sd_log_jacobian(displacement) == pytest.approx(np.log(4 + 0.1 * np.arange(2, 10)).std(), rel=1e-5)


def test_a_fold_deeper_than_the_offset_is_clipped_and_not_lost():
    x = np.indices(SHAPE, dtype=np.float32)
    displacement = np.zeros((3, *SHAPE), dtype=np.float32)
    displacement[0] = np.where(x[0] < 6, 0, -6 * (x[0] - 6))
    # |J| along i is 1 up to 5, 1 - 3 at 6 (half of the step) and 1 - 6 beyond, where |J| + 3 < 0 is clipped.
    logs = [math.log(4)] * 4 + [math.log(1)] + [math.log(1e-9)] * 3
    assert sd_log_jacobian(displacement) == pytest.approx(np.std(logs), rel=1e-5)


OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def constant(vector, grid):
    return Transform(np.broadcast_to(np.float32(vector), (*grid.size, 3)).copy(), grid)


def test_translations_that_undo_each_other_are_consistent_and_others_are_not():
    grid = Grid((10, 9, 8), (2.0, 1.0, 3.0), (5.0, -7.0, 11.0), OBLIQUE)
    mean, largest = inverse_consistency_mm(constant((2, 1, 0), grid), constant((-2, -1, 0), grid))
    assert (mean, largest) == pytest.approx((0, 0), abs=1e-4)
    mean, largest = inverse_consistency_mm(constant((2, 1, 0), grid), constant((1, 3, 0), grid))
    assert (mean, largest) == pytest.approx((5, 5), abs=1e-4)


def test_consistency_across_two_grids_of_a_scaling():
    fixed = Grid((8, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    moving = Grid((12, 13, 14), (3.0, 2.0, 2.5), (-2.0, 25.0, -1.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    there = Transform((0.5 * fixed.points()).astype(np.float32), fixed)
    back = Transform((-moving.points() / 3).astype(np.float32), moving)
    mean, largest = inverse_consistency_mm(there, back)
    assert (mean, largest) == pytest.approx((0, 0), abs=1e-4)
    # Half a millimetre too short everywhere along the first axis.
    short = Transform(back.displacement_mm + np.float32([0.5, 0, 0]), moving)
    assert inverse_consistency_mm(there, short) == pytest.approx((0.5, 0.5), abs=1e-4)


def test_points_that_leave_the_other_grid_are_not_counted():
    grid = Grid((10, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    forward = np.zeros((10, 4, 4, 3), dtype=np.float32)
    forward[5:, ..., 0] = 100
    forward[:5, ..., 1] = np.arange(5)[:, None, None] / 10
    # The mapped points of the last row of j leave the grid too, save those that stay in place.
    mean, largest = inverse_consistency_mm(Transform(forward, grid), constant((0, 0, 0), grid))
    assert largest == pytest.approx(0.4)
    assert mean == pytest.approx(3 * (0.1 + 0.2 + 0.3 + 0.4) / (4 + 4 * 3))
    mean, largest = inverse_consistency_mm(constant((100, 0, 0), grid), constant((0, 0, 0), grid))
    assert math.isnan(mean)
    assert math.isnan(largest)
