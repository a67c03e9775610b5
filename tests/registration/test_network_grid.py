import dataclasses

import numpy as np
import pytest

from mics.errors import InputError
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image
from mics.image.resample import inside
from mics.registration.half_way import half_way
from mics.registration.network_grid import Samples, in_view, network_grid, refuse_thin
from mics.registration.pair import Pair

FIXED = Grid.axis_aligned((-200, -150, 0), (200, 150, 300), (2, 2, 3), "RAS")
MOVING = Grid.axis_aligned((-180, -160, 200), (190, 140, 600), (2, 2, 5), "LPS")


def to_moving(affine):
    """Of the fixed scan's own space."""
    return Pair(fixed=np.eye(4), moving=affine)


def bounds(grid):
    return grid.corners().min(axis=0), grid.corners().max(axis=0)


def test_it_covers_what_both_scans_show_and_a_margin_within_what_either_shows():
    grid = network_grid(fixed=FIXED, moving=MOVING, to_scans=to_moving(np.eye(4)), spacing_mm=4.0)
    lower, upper = bounds(grid)
    assert grid.orientation == "LAS"
    assert grid.spacing == (4.0, 4.0, 4.0)
    assert all(length % 2 == 0 for length in grid.size)
    np.testing.assert_allclose(lower, (-200, -160, 160), atol=8.01)
    np.testing.assert_allclose(upper, (200, 150, 340), atol=8.01)
    assert np.all(lower <= (-200, -160, 160))
    assert np.all(upper >= (200, 150, 340))


def test_half_way_both_scans_lie_on_the_same_grid_whichever_is_fixed(oblique):
    affine = np.array([[1.1, 0.1, 0, 90.0], [-0.1, 0.95, 0, -70.0], [0, 0.05, 1.05, 50.0], [0, 0, 0, 1]])
    moving = oblique((100, 90, 80), (4, 4, 4), apply_matrix(affine, FIXED.centre), (10, 20, -5))
    one, other = half_way(affine), half_way(np.linalg.inv(affine))
    grid = network_grid(fixed=FIXED, moving=moving, to_scans=one, spacing_mm=4.0)
    exchanged = network_grid(fixed=moving, moving=FIXED, to_scans=other, spacing_mm=4.0)
    assert grid.size == exchanged.size
    assert grid.is_close(exchanged)
    seen = in_view(fixed=FIXED, moving=moving, grid=grid, to_scans=one)
    np.testing.assert_array_equal(seen.fixed, inside(FIXED, grid, one.fixed))
    np.testing.assert_array_equal(seen.moving, inside(moving, grid, one.moving))
    centre = tuple(n // 2 for n in grid.size)
    assert seen.fixed[centre]
    assert seen.moving[centre]


def test_the_affine_brings_the_moving_scan_into_the_fixed_world(oblique):
    affine = np.array([[1.1, 0.1, 0, 900.0], [-0.1, 0.95, 0, -70.0], [0, 0.05, 1, 5000.0], [0, 0, 0, 1]])
    moving = oblique((100, 90, 80), (4, 4, 4), apply_matrix(affine, FIXED.centre), (10, 20, -5))
    grid = network_grid(fixed=FIXED, moving=moving, to_scans=to_moving(affine), spacing_mm=4.0)
    seen = in_view(fixed=FIXED, moving=moving, grid=grid, to_scans=to_moving(affine))
    assert seen.fixed.mean() > 0.5
    assert seen.moving.mean() > 0.5
    centre = tuple(n // 2 for n in grid.size)
    assert seen.moving[centre]
    assert seen.fixed[centre]


@pytest.mark.parametrize("away", [(5000, 0, 0), (0, 0, 295)])
def test_scans_that_do_not_overlap_are_refused(away):
    matrix = np.eye(4)
    matrix[:3, 3] = away
    with pytest.raises(InputError, match=r"do not overlap.*`affine="):
        network_grid(fixed=FIXED, moving=FIXED, to_scans=to_moving(matrix), spacing_mm=4.0)


def test_boxes_may_overlap_where_the_scans_do_not(oblique):
    flat = oblique((40, 40, 3), (8, 8, 8), (0, 0, 0), (45, 0, 0))
    above = oblique((40, 40, 3), (8, 8, 8), (0, 0, 60), (45, 0, 0))
    grid = network_grid(fixed=flat, moving=above, to_scans=to_moving(np.eye(4)), spacing_mm=8.0)
    with pytest.raises(InputError, match="do not overlap"):
        in_view(fixed=flat, moving=above, grid=grid, to_scans=to_moving(np.eye(4)))


def ramp(points):
    """A linear function of the place, which linear interpolation and averaging keep."""
    return (0.3 * points[..., 0] - 0.2 * points[..., 1] + 0.1 * points[..., 2]).astype(np.float32)


def test_each_voxel_shows_its_own_place_in_the_scan(oblique):
    affine = np.array([[1.1, 0.1, 0, 90.0], [-0.1, 0.95, 0, -70.0], [0, 0.05, 1, 50.0], [0, 0, 0, 1]])
    centre = np.array([10.0, 20.0, 30.0])
    scan = oblique((60, 50, 40), (3, 4, 5), apply_matrix(affine, centre), (10, 20, -5), (1, -1, 1), (2, 0, 1))
    grid = oblique((6, 5, 7), (8, 8, 8), centre, flips=(1, -1, 1))
    samples = Samples.of(Image(ramp(scan.points().astype(float)), scan), grid, affine)
    finer = dataclasses.replace(grid, size=(11, 9, 13), spacing=(4, 4, 4))
    for wanted in (grid, finer):
        expected = ramp(apply_matrix(affine, wanted.points()))
        np.testing.assert_allclose(samples.downsampled(wanted, None)[0, 0].numpy(), expected, atol=1e-2)


def test_samples_serve_finer_grids_whose_voxels_they_fill(oblique):
    """Of eight millimetres there are four samples to an edge: two to one of four millimetres, and one does not fill two."""
    image = Image(
        np.random.default_rng(0).normal(size=(60, 50, 40)).astype(np.float32),
        oblique((60, 50, 40), (3, 4, 5), (0, 0, 0)),
    )
    grid = oblique((6, 5, 7), (8, 8, 8), (0, 0, 0))
    samples = Samples.of(image, grid, np.eye(4))
    halves = dataclasses.replace(grid, size=(11, 9, 13), spacing=(4, 4, 4))
    own = Samples.of(image, halves, np.eye(4)).downsampled(halves, (-1, 1))
    np.testing.assert_allclose(samples.downsampled(halves, (-1, 1)), own, atol=1e-4)
    quarters = dataclasses.replace(grid, size=(21, 17, 25), spacing=(2, 2, 2))
    other = dataclasses.replace(grid, size=(12, 10, 14), spacing=(3.7, 3.7, 3.7))
    assert samples.downsampled(quarters, None) is None
    assert samples.downsampled(other, None) is None


def test_hu_beyond_what_the_model_knows_are_clipped_before_the_mean(oblique):
    scan = oblique((20, 20, 20), (2, 2, 2), (0, 0, 0))
    stripes = np.where(np.arange(20) % 2, 1000, -1000)[:, None, None] * np.ones(scan.size)
    grid = oblique((6, 6, 6), (4, 4, 4), (0, 0, 0))
    clipped = Samples.of(Image(stripes.astype(np.float32), scan), grid, np.eye(4)).downsampled(grid, (-125.0, 275.0))
    assert clipped.mean() == pytest.approx(75, abs=1)


def test_beyond_the_scan_is_air(oblique):
    scan = oblique((10, 10, 10), (2, 2, 2), (0, 0, 0))
    far = oblique((4, 4, 4), (4, 4, 4), (500, 0, 0))
    outside = Samples.of(Image(np.full(scan.size, 40, np.float32), scan), far, np.eye(4)).downsampled(far, None)
    assert (outside == -1000).all()


def test_scans_that_show_too_little_are_told_so_and_not_that_they_are_apart():
    whole, few = Grid((60, 50, 60), (5, 5, 5), (-150, -125, -150)), Grid((60, 50, 6), (5, 5, 5), (-150, -125, 0))
    refuse_thin(fixed=whole, moving=whole, spacing_mm=8.0)
    for pair, message in (
        ((few, whole), r"The fixed scan is only 25 mm thick \(60 x 50 x 6 "),
        ((whole, few), "The moving"),
    ):
        with pytest.raises(InputError, match=message + ".*needs 32 mm"):
            refuse_thin(fixed=pair[0], moving=pair[1], spacing_mm=8.0)
    beside = Grid((60, 50, 60), (5, 5, 5), (-150, -125, 135))
    with pytest.raises(InputError, match=r"do not overlap enough \(10 mm of 32 mm"):
        network_grid(fixed=whole, moving=beside, to_scans=to_moving(np.eye(4)), spacing_mm=8.0)
