"""What a user asks to steer: found among what is given, refused where it is not, and not used to judge."""

import numpy as np
import pytest

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points
from mics.registration.inputs import Scan
from mics.registration.pair import Pair
from mics.registration.steering import others_alone, what_steers

GRID = Grid((6, 5, 4), (2, 2, 2), (0, 0, 0))
NAMES = {1: "Spleen", 70000: "left lung", 4: "twin", 5: "twin"}


def scan(*labels: int) -> Scan:
    array = np.zeros(GRID.size, np.int32)
    array.ravel()[: len(labels)] = labels
    return Scan(Image(np.zeros(GRID.size, np.float32), GRID), Image(array, GRID), None, None, None, None)


def points(*places: tuple[float, float, float]) -> Points:
    return Points(np.array(places), ("",) * len(places))


PAIR = Pair(fixed=scan(1, 2, 4, 5, 70000), moving=scan(70000, 5, 4, 1, 9))
LANDMARKS = points((1, 2, 3), (0, 0, 0)), points((2, 2, 2), (9, 8, 6))


def steering(steer, tolerance=None, *, scans=PAIR, landmarks=LANDMARKS, meaning=NAMES):
    return what_steers(steer, tolerance, scans=scans, meaning=meaning, landmarks=landmarks)


@pytest.mark.parametrize(
    ("steer", "labels"),
    [
        ("labels", (1, 4, 5, 70000)),
        (["labels", 1], (1, 4, 5, 70000)),
        ([70000, "1"], (1, 70000)),
        (["LEFT LUNG", "spleen"], (1, 70000)),
        (("landmarks",), ()),
    ],
)
def test_what_both_label_maps_hold(steer, labels):
    found = steering(steer)
    assert found.labels == labels
    assert (found.landmarks is not None) == ("landmarks" in steer)


def test_nothing_steers_unless_it_is_asked_to():
    assert steering(()) is None


def test_landmarks_with_their_tolerance():
    found = steering(["landmarks", 1], 0.5)
    assert (found.count, found.tolerance_mm, found.labels) == (2, 0.5, (1,))
    assert found.landmarks.moving is LANDMARKS[1]


NO_LABELS = Pair(fixed=PAIR.fixed, moving=Scan(PAIR.fixed.image, None, None, None, None, None))


@pytest.mark.parametrize(
    ("steer", "tolerance", "other", "message"),
    [
        ("labels", None, {"scans": NO_LABELS}, "give the label maps of both"),
        ("labels", None, {"scans": Pair(fixed=scan(1), moving=scan(2))}, "No label is in both"),
        ("landmarks", None, {"landmarks": None}, "Landmarks steer where both scans have them"),
        ([2], None, {}, "2 is no label of both label maps.*1 Spleen, 4 twin, 5 twin, 70000 left lung"),
        (["liver"], None, {}, "'liver' is no label of both.*70000 left lung.$"),
        (["liver"], None, {"meaning": {}}, "of these: 1, 4, 5, 70000; these maps name none, .*`label_names`"),
        (["twin"], None, {}, "'twin' are 2 labels of both"),
        ([1.5], None, {}, "a label by its number or name, not 1.5"),
        (7, None, {}, "list of labels"),
        ("labels", 1.0, {}, 'use `steer="landmarks"`'),
        ("landmarks", 0.0, {}, "above 0, not 0.0"),
        ("landmarks", float("nan"), {}, "above 0, not nan"),
        ("landmarks", "1", {}, "number of mm"),
        ("landmarks", None, {"landmarks": (LANDMARKS[0], points((0, 0, 0), (-30, 0, 0)))}, "1 of the 2 .* point 2"),
    ],
)
def test_what_cannot_steer_is_told_in_a_sentence(steer, tolerance, other, message):
    with pytest.raises(InputError, match=message) as error:
        steering(steer, tolerance, **other)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_what_steers_does_not_judge():
    scores = {
        "dice": {"1": 0.9, "2": 0.5, "4": 0.7},
        "dice_affine_only": {"1": 0.1, "2": 0.4, "4": 0.2},
        "mean_dice": 0.7,
        "mean_dice_affine_only": 0.2333,
        "worst_label": "2",
    }
    labels = {"moving_to_fixed": scores, "fixed_to_moving": scores}
    left = others_alone(labels, steering([1]))["moving_to_fixed"]
    assert left == {
        "dice": {"2": 0.5, "4": 0.7},
        "dice_affine_only": {"2": 0.4, "4": 0.2},
        "mean_dice": 0.6,
        "mean_dice_affine_only": 0.3,
        "worst_label": "2",
    }
    assert others_alone(labels, None) is labels
    assert (
        others_alone({"moving_to_fixed": {**scores, "dice": {"1": 0.9}, "dice_affine_only": {"1": 0.1}}}, steering([1]))
        is None
    )
