"""What leads the refinement, on its grid: distances to given labels' borders, places of landmarks, bones and lesions."""

import dataclasses

import numpy as np
import pytest
import torch

from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points
from mics.registration.guides import REACH_MM, label_distances, landmark_places, stiff_map
from mics.registration.inputs import Scan
from mics.registration.pair import Pair

NATIVE = Grid.axis_aligned((-48.4, -44.4, -40.4), (47.6, 43.6, 39.6), 2.0, "RAS")
VIEWS = Grid.axis_aligned((-40, -36, -32), (40, 36, 32), 4.0, "LAS")
SHIFT = np.eye(4)
SHIFT[:3, 3] = 6, -4, 2


def ball(radius: float, label: int) -> Image:
    return Image((np.linalg.norm(NATIVE.points(), axis=-1) <= radius).astype(np.uint16) * label, NATIVE)


@pytest.mark.parametrize("matrix", [np.eye(4), SHIFT])
def test_the_distance_to_a_balls_border(matrix):
    found = label_distances(ball(16.0, 700), (700,), VIEWS, matrix)[0, 0].numpy()
    expected = np.linalg.norm(VIEWS.points() + matrix[:3, 3], axis=-1) - 16
    near = np.abs(expected) < 12
    assert np.abs(found - expected)[near].max() < 2.0
    assert np.abs(found - expected)[near].mean() < 0.8
    assert found[expected > REACH_MM + 4].min() == pytest.approx(REACH_MM)


def test_labels_have_maps_in_the_order_of_their_ids_and_what_is_out_of_view_is_far():
    two = ball(30.0, 3)
    two.array[np.linalg.norm(NATIVE.points(), axis=-1) <= 10] = 9
    nine, three, none = label_distances(two, (9, 3, 4), VIEWS, np.eye(4))[0]
    middle = tuple(length // 2 for length in VIEWS.size)
    assert nine[middle] < -6
    assert three[middle] > 6
    assert none.min() == none.max() == REACH_MM


def test_landmarks_lie_where_the_affine_brings_them():
    points = np.array([[4.0, 8.0, -12.0], [0.0, 0.0, 0.0]])
    moving = Points(points + SHIFT[:3, 3], ("", ""))
    places = landmark_places(
        Pair(fixed=Points(points, ("", "")), moving=moving), VIEWS, Pair(fixed=np.eye(4), moving=SHIFT)
    )
    np.testing.assert_allclose(places.moving, VIEWS.world_to_voxel(points), atol=1e-9)
    np.testing.assert_allclose(places.moving, places.fixed, atol=1e-9)


def test_landmarks_of_either_scan_lie_where_its_own_affine_brings_them():
    points, stretch = np.array([[4.0, 8.0, -12.0]]), np.diag([2.0, 1, 0.5, 1])
    given = Pair(fixed=Points(points * [2, 1, 0.5], ("",)), moving=Points(points + SHIFT[:3, 3], ("",)))
    places = landmark_places(given, VIEWS, Pair(fixed=stretch, moving=SHIFT))
    np.testing.assert_allclose(places.fixed, VIEWS.world_to_voxel(points), atol=1e-9)
    np.testing.assert_allclose(places.moving, places.fixed, atol=1e-9)


def test_lesions_are_stiff_where_asked():
    soft = Scan(Image(np.full(NATIVE.size, 40, np.float32), NATIVE), None, None, None, None, None)
    with_lesion = dataclasses.replace(soft, lesions=ball(12.0, 5))
    organs = torch.zeros(1, 2, *VIEWS.size)
    kept, ignored = (stiff_map(with_lesion, organs, VIEWS, np.eye(4), lesions=keeps) for keeps in (True, False))
    assert float(ignored.max()) == 0
    assert float(kept.sum()) * 4.0**3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
