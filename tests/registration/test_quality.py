import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points
from mics.registration.quality import inverse_consistency, label_scores, landmark_scores, landmark_warnings

GRID = Grid((40, 36, 20), (2.0, 2.0, 4.0), (0.0, 0.0, 0.0))


def shifted(x_mm):
    return Transform(np.broadcast_to(np.float32([x_mm, 0, 0]), (*GRID.size, 3)).copy(), GRID)


def test_opposite_shifts_are_consistent_and_others_miss_by_their_sum():
    assert inverse_consistency(forward=shifted(6), backward=shifted(-6)) == {"mean": 0.0, "max": 0.0}
    assert inverse_consistency(forward=shifted(6), backward=shifted(-4)) == pytest.approx({"mean": 2.0, "max": 2.0})


def test_where_nothing_comes_to_lie_in_the_other_scan_it_is_unknown():
    assert inverse_consistency(forward=shifted(500), backward=shifted(-500)) == {"mean": None, "max": None}


def box(label, low, high, array=None):
    array = np.zeros(GRID.size, np.uint8) if array is None else array
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return array


def test_scores_are_of_the_labels_in_both_scans_and_the_affine_is_scored_beside():
    target = Image(box(3, (30, 2, 2), (34, 6, 6), box(6, (4, 4, 4), (14, 14, 14))), GRID)
    warped = Image(box(6, (4, 4, 4), (14, 14, 12)), GRID)
    affine_only = Image(box(6, (9, 4, 4), (19, 14, 14)), GRID)
    source = Image(box(9, (0, 0, 0), (2, 2, 2), box(6, (20, 20, 2), (30, 30, 12))), GRID)
    scores = label_scores(target=target, warped=warped, affine_only=affine_only, source=source)
    assert scores["dice"] == {"6": round(2 * 800 / 1800, 4)}
    assert scores["dice_affine_only"] == {"6": 0.5}
    assert scores["mean_dice"] == scores["dice"]["6"]
    assert scores["hd95_mm"]["6"] == pytest.approx(8.0, abs=0.1)
    assert scores["worst_label"] == "6"


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_surfaces_before_and_after_are_as_deepmind_measures_them():
    package = pytest.importorskip("surface_distance")
    low, high = {2: (4, 4, 3), 6: (20, 6, 6)}, {2: (12, 15, 9), 6: (33, 30, 17)}
    target, warped, before = (np.zeros(GRID.size, np.uint8) for _ in range(3))
    for label in low:
        box(label, low[label], high[label], target)
        box(label, np.add(low[label], 1), high[label], warped)
        box(label, np.add(low[label], (2, 3, -1)), np.add(high[label], (2, 3, -1)), before)
    images = [Image(array, GRID) for array in (target, warped, before)]
    scores = label_scores(target=images[0], warped=images[1], affine_only=images[2], source=images[0])
    for label in low:
        for array, when in ((warped, ""), (before, "_affine_only")):
            distances = package.compute_surface_distances(target == label, array == label, GRID.spacing)
            mda, hd95 = scores[f"mda_mm{when}"][str(label)], scores[f"hd95_mm{when}"][str(label)]
            assert mda == pytest.approx(np.mean(package.compute_average_surface_distance(distances)), abs=1e-4)
            assert hd95 == pytest.approx(package.compute_robust_hausdorff(distances, 95), abs=1e-4)
    assert scores["worst_label"] == "2"


def test_a_label_pushed_out_of_view_counts_as_zero_and_stays_json():
    target, source = Image(box(2, (4, 4, 4), (8, 8, 8)), GRID), Image(box(2, (20, 20, 2), (24, 24, 6)), GRID)
    nothing = Image(np.zeros(GRID.size, np.uint8), GRID)
    scores = label_scores(target=target, warped=nothing, affine_only=nothing, source=source)
    assert scores["dice"] == {"2": 0.0}
    assert scores["hd95_mm"] == scores["mda_mm"] == {"2": None}
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize("label", [614454277, 2 * 10**9, 2**63])
def test_ids_of_an_atlas_are_scored_without_a_list_as_long_as_the_largest(label):
    array = np.zeros(GRID.size, np.uint64)
    array[4:14, 4:14, 4:14] = label
    array[30:34, 2:6, 2:6] = 3
    moved = np.roll(array, 5, axis=0)
    tracemalloc.start()
    still, warped = Image(array, GRID), Image(moved, GRID)
    scores = label_scores(target=still, warped=warped, affine_only=still, source=still)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores["dice"] == {"3": 0.0, str(label): 0.5}
    assert scores["dice_affine_only"] == {"3": 1.0, str(label): 1.0}
    assert peak < 50e6
    json.dumps(scores, allow_nan=False)


def test_maps_without_a_common_label_have_no_mean():
    empty = Image(np.zeros(GRID.size, np.int32), GRID)
    scores = label_scores(target=empty, warped=empty, affine_only=empty, source=empty)
    assert (scores["mean_dice"], scores["worst_label"]) == (None, None)


def registration(transform, affine):
    return SimpleNamespace(
        fixed=Image(np.zeros(GRID.size, np.int16), GRID),
        moving=Image(np.zeros(GRID.size, np.int16), GRID),
        affine=affine,
        moving_to_fixed=transform,
    )


def test_landmarks_miss_by_what_the_transform_and_the_affine_leave():
    affine = np.eye(4)
    affine[0, 3] = 2
    fixed = np.array([[10.0, 10.0, 10.0], [20.0, 30.0, 40.0]])
    moving = fixed + [[6, 0, 0], [6, 3, 4]]
    landmarks = Points(fixed, ("", "")), Points(moving, ("", ""))
    scores = landmark_scores(registration(shifted(6), affine), landmarks)
    assert scores["count"] == 2
    assert scores["tre_mm"] == pytest.approx({"mean": 2.5, "max": 5.0})
    assert scores["tre_mm_affine_only"] == pytest.approx({"mean": (4 + 41**0.5) / 2, "max": 41**0.5}, abs=1e-4)
    assert landmark_warnings(registration(shifted(6), affine), landmarks) == []
    assert landmark_scores(registration(shifted(6), affine), None) is None


def test_landmarks_outside_their_scan_are_told():
    points = Points(np.array([[10.0, 10.0, 10.0], [-20.0, 30.0, 40.0]]), ("", ""))
    (message,) = landmark_warnings(registration(shifted(0), np.eye(4)), (Points(points.coordinates[:1], ("",)), points))
    assert message.startswith("1 of the 2 landmarks of the moving scan lies outside of it")
