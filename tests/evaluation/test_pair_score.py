"""All measures of one pair, on cases worked out by hand."""

import json
import math

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.learn2reg import from_transform
from mics.evaluation.pair_score import PairScore, score_pair
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points

GRID = Grid((16, 12, 12), (2.0, 2.0, 2.0), (5.0, -3.0, 7.0))


def image(array):
    return Image(array, GRID)


def blocks():
    fixed, moving = np.zeros((2, *GRID.size), dtype=np.uint8)
    fixed[2:6, 2:6, 2:6], moving[5:9, 2:6, 2:6] = 6, 6
    fixed[12:14, 8:10, 8:10], moving[0:2, 8:10, 8:10] = 1, 1  # 1: pushed out of view
    fixed[9:11, 0:2, 0:2] = 4  # absent from the moving scan
    fixed[8:11, 6:9, 2:5], moving[11:14, 6:9, 4:7] = 11, 11  # two voxels off
    moving[0, 0, 0] = 20  # absent from the fixed scan
    displacement = np.zeros((3, *GRID.size), np.float32)
    displacement[0] = 3
    return image(fixed), image(moving), displacement


def test_absent_organs_are_skipped_and_a_lost_one_counts():
    score = score_pair(*blocks())
    assert score.dice == pytest.approx({1: 0.0, 6: 1.0, 11: 1 / 3})
    assert (score.hd95_voxels[11], score.hd95_mm[11]) == (2, 4)
    assert math.isinf(score.hd95_voxels[1])
    assert (score.sd_log_jacobian, score.fold_share, score.nondiffeomorphic_percent) == (0, 0, 0)
    measures = score.measures()
    assert measures["dice"] == pytest.approx(4 / 9)
    assert math.isinf(measures["hd95_mm"])
    assert (measures["inverse_mean_mm"], measures["landmark_mm"], measures["seconds"]) == (None, None, None)


def test_no_label_in_common_is_no_dice():
    empty = image(np.zeros(GRID.size, np.uint8))
    score = score_pair(empty, empty, np.zeros((3, *GRID.size), np.float32))
    assert score.measures()["dice"] is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distances_on_slabs_of_unlike_spacing_are_in_voxels_and_in_mm(axis):
    size, spacing = np.roll([16, 10, 10], axis).tolist(), np.roll([3.0, 1.0, 1.0], axis).tolist()
    grid = Grid(tuple(size), tuple(spacing), (0.0, 0.0, 0.0))
    fixed, moving = np.zeros((2, *grid.size), np.uint8)
    np.moveaxis(fixed, axis, 0)[2:4], np.moveaxis(moving, axis, 0)[7:9] = 1, 1
    score = score_pair(Image(fixed, grid), Image(moving, grid), np.zeros((3, *grid.size), np.float32))
    assert (score.hd95_voxels[1], score.hd95_mm[1]) == (5, 15)


def test_a_known_fold_is_counted_by_both_definitions():
    displacement = np.zeros((3, *GRID.size), np.float32)
    displacement[0, 8] = -3  # voxel 8 goes behind its neighbour at 7: central differences see it at 7 and 9 alone
    score = score_pair(image(np.ones(GRID.size, np.uint8)), image(np.ones(GRID.size, np.uint8)), displacement)
    # At 7: 1 + (-3 - 0) / 2 = -0.5; at 9: 1 + (0 + 3) / 2. One plane of 16.
    assert score.fold_share == pytest.approx(1 / 16)
    assert (score.jacobian_min, score.jacobian_max) == pytest.approx((-0.5, 2.5))
    # Between 7 and 8 the cell of length 1 is mapped to 1 - 3 = -2; volume -2 in one of 14 inner layers.
    assert score.nondiffeomorphic_percent == pytest.approx(100 * 2 / 14, rel=0.01)


def test_inverse_error_of_a_scaling_and_its_inverse_and_of_a_wrong_one():
    x = np.indices(GRID.size, dtype=np.float32)
    labels = image(np.ones(GRID.size, np.uint8))
    shrink, grow = -0.5 * x, x
    score = score_pair(labels, labels, shrink.astype(np.float32), grow.astype(np.float32))
    assert (score.inverse_mean_mm, score.inverse_max_mm) == pytest.approx((0, 0), abs=1e-4)
    off = grow + np.array([0, 1, 0], np.float32).reshape(3, 1, 1, 1)  # one voxel, 2 mm
    score = score_pair(labels, labels, shrink.astype(np.float32), off)
    assert (score.inverse_mean_mm, score.inverse_max_mm) == pytest.approx((2, 2), abs=1e-4)


def test_a_flipped_grid_is_no_fold_and_other_voxels_are_no_change_of_volume():
    """The identity in space, between a grid and one of the same place with other voxels and an axis turned round."""
    moving = Grid((20, 24, 12), (1.5, 1.0, 2.0), (5.0, 20.0, 7.0), (1, 0, 0, 0, -1, 0, 0, 0, 1))
    forward = from_transform(Transform(np.zeros((*GRID.size, 3), np.float32), GRID), moving)
    labels = image(np.ones(GRID.size, np.uint8)), Image(np.ones(moving.size, np.uint8), moving)
    score = score_pair(*labels, forward)
    assert score.fold_share == 0
    assert score.sd_log_jacobian == pytest.approx(0, abs=1e-5)


def test_landmarks_go_where_the_displacement_points():
    displacement = np.zeros((3, *GRID.size), np.float32)
    displacement[1] = 2  # voxels: 4 mm along y
    fixed = np.array([[15.0, 5.0, 15.0], [20.0, 7.0, 12.0]])
    moving = fixed + [[0, 4, 0], [0, 4, 3]]
    labels = image(np.ones(GRID.size, np.uint8))
    score = score_pair(labels, labels, displacement, landmarks=(Points(fixed, ("", "")), Points(moving, ("", ""))))
    assert score.landmark_mm == pytest.approx((0, 3), abs=1e-4)
    assert score.measures()["landmark_mm"] == pytest.approx(1.5, abs=1e-4)
    with pytest.raises(InputError, match="2 landmarks, the moving one 1"):
        score_pair(labels, labels, displacement, landmarks=(Points(fixed, ("", "")), Points(moving[:1], ("",))))


def test_a_displacement_of_another_size_is_refused():
    fixed, moving, displacement = blocks()
    with pytest.raises(InputError, match="covers 15x12x12 voxels, the fixed labels 16x12x12"):
        score_pair(fixed, moving, displacement[:, :-1])


def test_a_score_survives_json():
    score = score_pair(*blocks(), seconds=3.5)
    older = {
        key: value for key, value in score.to_dict().items() if key not in ("mda_mm", "jacobian_min", "jacobian_max")
    }
    assert PairScore.from_dict(older).measures()["hd95_mm"] == score.measures()["hd95_mm"]
    assert PairScore.from_dict(json.loads(json.dumps(score.to_dict(), allow_nan=False))) == score


def test_one_number_a_measure_is_the_mean_over_labels_and_landmarks_or_a_percentage():
    score = PairScore(
        dice={1: 0.5, 6: 0.75},
        hd95_voxels={1: 2.0, 6: 3.0},
        hd95_mm={1: 4.0, 6: 6.0},
        sd_log_jacobian=0.125,
        fold_share=0.25,
        nondiffeomorphic_percent=3.0,
        inverse_mean_mm=0.5,
        inverse_max_mm=7.0,
        landmark_mm=(1.0, 2.0, 6.0),
        seconds=9.0,
        mda_mm={1: 0.5, 6: 1.0},
        jacobian_min=-0.5,
        jacobian_max=2.5,
    )
    assert score.measures() == {
        "dice": 0.625,
        "hd95_voxels": 2.5,
        "hd95_mm": 5.0,
        "mda_mm": 0.75,
        "sd_log_jacobian": 0.125,
        "jacobian_min": -0.5,
        "jacobian_max": 2.5,
        "fold_percent": 25.0,
        "nondiffeomorphic_percent": 3.0,
        "inverse_mean_mm": 0.5,
        "inverse_max_mm": 7.0,
        "landmark_mm": 3.0,
        "landmark_max_mm": 6.0,
        "seconds": 9.0,
    }
