import numpy as np
import pytest

from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.coarse import coarse

STRAIGHT = Grid.axis_aligned((-200, -150, -150), (200, 150, 150), (4, 4, 6), "LPS")


def test_voxels_are_averaged_not_picked():
    grid = Grid((40, 40, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    noise = Image(np.random.default_rng(0).normal(50, 40, grid.size).astype(np.float32), grid)
    inner = coarse(noise, 8.0).image.array[1:-1, 1:-1, 1:-1]
    assert inner.mean() == pytest.approx(50, abs=3)
    assert inner.std() < 40 / 5


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -8, 20)])
def test_a_turned_scan_shows_the_same_patient_in_the_same_place(scan, oblique, degrees):
    straight = coarse(scan(STRAIGHT), 8.0)
    turned = coarse(scan(oblique((110, 90, 60), (4, 4, 6), (0, 0, 0), degrees, (-1, 1, -1), (1, 0, 2))), 8.0)
    points = straight.image.grid.points()[10:-10:3, 10:-10:3, 8:-8:3].reshape(-1, 3).astype(float)
    i, j, k = np.rint(turned.image.grid.world_to_voxel(points)).astype(int).T
    u, v, w = np.rint(straight.image.grid.world_to_voxel(points)).astype(int).T
    assert np.mean(turned.body[i, j, k] == straight.body[u, v, w]) > 0.97
    assert turned.in_view[i, j, k].all()


def test_the_body_is_the_patient_without_table_and_with_the_lungs(scan):
    image = scan(STRAIGHT)
    points = STRAIGHT.points()
    table = (points[..., 1] > 135) & (points[..., 1] < 143)
    image.array[table] = 100
    found = coarse(image, 8.0)
    places = found.image.grid.points()
    middle = (np.hypot(places[..., 0] / 150, (places[..., 1] - 10) / 105) < 0.8) & found.in_view
    assert found.body[middle].all()
    assert not found.body[places[..., 1] > 132].any()


def test_hu_clipped_above_air_as_in_windowed_exports_leave_the_body_visible(scan):
    image = scan(STRAIGHT)
    windowed = coarse(Image(image.array.clip(-125, 275), STRAIGHT), 8.0)
    assert np.mean(windowed.body == coarse(image, 8.0).body) > 0.97


def test_beyond_the_scan_is_not_seen(oblique):
    grid = oblique((20, 20, 20), (8, 8, 8), (0, 0, 0), (0, 0, 45))
    found = coarse(Image(np.full(grid.size, 40, np.float32), grid), 8.0)
    assert not found.in_view[0, 0].any()
    assert found.in_view[tuple(n // 2 for n in found.in_view.shape)]
