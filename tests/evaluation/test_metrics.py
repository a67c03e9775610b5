"""Overlap and regularity on cases worked out by hand, and against the challenge's formula."""

import math

import numpy as np
import pytest
from scipy import ndimage

from mics.errors import InputError
from mics.evaluation.metrics import SurfaceAgreement, dice, sd_log_jacobian, surface_agreement

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
    assert surface_agreement(fixed, moving, [1, 2, 4, 5]) == {1: SurfaceAgreement(0.0, 0.0)}


def test_a_label_that_the_warp_loses_scores_zero_and_infinity():
    fixed = moving = box(1, (0, 0, 0), (3, 3, 3))
    warped = np.zeros_like(fixed)
    assert dice(fixed, warped, [1], moving_labels=moving) == {1: 0.0}
    assert surface_agreement(fixed, warped, [1], moving_labels=moving) == {1: SurfaceAgreement(math.inf, math.inf)}
    assert dice(fixed, warped, [1]) == {}


def test_hd95_is_in_units_of_spacing():
    fixed, warped = box(1, (2, 0, 0), (4, 10, 14)), box(1, (7, 0, 0), (9, 10, 14))
    assert surface_agreement(fixed, warped, [1])[1].hd95 == 5.0
    assert surface_agreement(fixed, warped, [1], (2, 1, 1))[1].hd95 == 10.0


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


@pytest.mark.parametrize("measure", [dice, surface_agreement])
@pytest.mark.parametrize("label", [0, -1])
def test_the_background_is_no_label_to_score(measure, label):
    one = np.zeros((6, 6, 6), np.uint8)
    one[1:3, 1:3, 1:3] = 1
    with pytest.raises(InputError, match=f"above 0, .* not {label}"):
        measure(one, one, [1, label])


@pytest.mark.parametrize("measure", [dice, surface_agreement])
def test_maps_of_two_shapes_are_not_compared(measure):
    one = np.ones((6, 6, 6), np.uint8)
    with pytest.raises(InputError, match=r"\(6, 6, 6\) and \(5, 6, 6\)"):
        measure(one, one[:5], [1])


def test_a_field_within_the_cropped_border_has_no_sd_log_jacobian():
    assert sd_log_jacobian(np.zeros((3, 5, 5, 5))) == 0
    with pytest.raises(InputError, match="leaves none of 5 x 4 x 5"):
        sd_log_jacobian(np.zeros((3, 5, 4, 5)))
