import numpy as np
import pytest

from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import resample
from mics.registration.coarse import coarse
from mics.registration.pair import Pair
from mics.registration.start import best_start, difference


def at(lower, upper):
    """A scan's grid between two heights, in mm of the patient."""
    return Grid.axis_aligned((-180, -140, lower), (180, 150, upper), (6, 6, 6), "LPS")


# Fixed and moving field of view along the body: alike, moving reaches to the hips, fixed to the lungs, little shared.
@pytest.mark.parametrize(
    ("fixed", "moving"),
    [((-100, 140), (-100, 140)), ((-60, 130), (-250, 130)), ((-80, 250), (-100, 120)), ((-40, 200), (-190, 90))],
)
def test_the_shift_along_the_body_is_found_wherever_the_scanner_put_its_origin(scan, fixed, moving):
    away = np.eye(4)
    away[:3, 3] = (35.0, -60.0, 1250.0)
    a = coarse(scan(at(*fixed)), 8.0)
    grid = at(*moving)
    grid = Grid(grid.size, grid.spacing, tuple((np.array(grid.origin) + away[:3, 3]).tolist()), grid.direction)
    b = coarse(scan(grid, np.linalg.inv(away)), 8.0)
    start = best_start(Pair(fixed=a, moving=b))
    np.testing.assert_allclose((start @ [0, 0, 0, 1])[:3], away[:3, 3], atol=12)
    scans = Pair(fixed=a, moving=b)
    assert difference(scans, start) < difference(scans, away) + 10


def test_a_wider_patient_is_scaled(scan):
    wider = np.diag([1.25, 1.15, 1.0, 1.0])
    a, b = coarse(scan(at(-100, 140)), 8.0), coarse(scan(at(-100, 140), np.linalg.inv(wider)), 8.0)
    start = best_start(Pair(fixed=a, moving=b))
    np.testing.assert_allclose(np.diag(start)[:2], [1.25, 1.15], atol=0.06)


def test_two_slabs_that_look_alike_are_not_laid_upon_each_other_where_they_share_little():
    """The uppermost planes of one have the HU that all of the other has: the less is shared, the smaller the difference."""
    grid = at(0, 240)
    x, y, z = np.moveaxis(grid.points(), -1, 0)
    inside = (x / 150) ** 2 + (y / 110) ** 2 < 1
    fixed, moving = (
        coarse(Image(np.where(inside, hu, -1000).astype(np.float32), grid), 8.0)
        for hu in (np.where(z > 220, 100, 0), 100)
    )
    scans = Pair(fixed=fixed, moving=moving)
    little = np.eye(4)
    little[2, 3] = -220
    assert difference(scans, little) < difference(scans, np.eye(4))
    start = best_start(scans)
    assert abs(start[2, 3]) <= 0.6 * 240 + 8
    assert difference(scans, start) < difference(scans, np.eye(4))


def test_where_nothing_is_shared_the_difference_is_infinite(scan):
    a = coarse(scan(at(-100, 140)), 8.0)
    far = np.eye(4)
    far[2, 3] = 5000
    scans = Pair(fixed=a, moving=a)
    assert difference(scans, far) == np.inf
    assert difference(scans, np.eye(4)) == pytest.approx(0, abs=1e-3)


def test_the_difference_is_that_of_the_volume_that_itk_resamples(scan):
    a, b = coarse(scan(at(-100, 140)), 8.0), coarse(scan(at(-60, 130)), 8.0)
    turned = np.eye(4)
    turned[:3, :3] += [[0.1, 0.04, 0], [-0.05, -0.1, 0.02], [0, 0.03, 0.05]]
    for matrix in (np.diag([1.1, 0.9, 1, 1]), turned):
        matrix[:3, 3] = (7.3, -11.1, 21.7)
        moved = [
            resample(
                Image(array.astype(np.float32), b.image.grid), a.image.grid, matrix, nearest=nearest, outside=0
            ).array
            for array, nearest in ((b.image.array, False), (b.body, True), (b.in_view, True))
        ]
        counted = (a.body | (moved[1] > 0)) & a.in_view & (moved[2] > 0)
        assert 1000 < counted.sum() < counted.size
        expected = np.abs(a.image.array - moved[0])[counted].mean()
        assert difference(Pair(fixed=a, moving=b), matrix) == pytest.approx(expected, rel=1e-4)
