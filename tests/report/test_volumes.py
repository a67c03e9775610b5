import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mics.image.grid import Grid
from mics.report.sheets import volume_change
from mics.report.volumes import (
    CODE_KNOTS,
    HU_KNOTS,
    MAX_VOXELS,
    NO_CHANGE,
    STEPS_PER_OCTAVE,
    Anatomical,
    block_means,
    coarser,
    hu_codes,
    log_jacobian_codes,
)

ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*axes)
]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_arrays_of_any_order_come_into_the_anatomical_one(orientation):
    grid = Grid.axis_aligned((-20, -33, 5), (25, 30, 45), (2, 3, 4), orientation)
    order = Anatomical.of(grid)
    points = order.turn(grid.points())
    assert points.shape[:3] == tuple(reversed(order.size))
    for axis, world in ((2, 0), (1, 1), (0, 2)):
        steps = np.diff(points, axis=axis)
        assert np.all(steps[..., world] > 0)
        np.testing.assert_allclose(np.abs(steps).max(axis=-1), order.spacing[world], atol=1e-4)
    x, y, z = 3, 1, 2
    np.testing.assert_allclose(grid.voxel_to_world((order.to_file @ [x, y, z, 1])[:3]), points[z, y, x], atol=1e-4)


def test_a_subsampled_grid_lies_where_its_voxels_do(grid):
    order = Anatomical.of(grid)
    subsampled = order.subsampled((2, 3, 1), (1, 2, 0))
    points = order.turn(grid.points())[:, 2::3, 1::2]
    np.testing.assert_allclose(subsampled.points().transpose(2, 1, 0, 3), points, atol=1e-3)


def test_codes_keep_hu_to_one_in_soft_tissue_and_to_four_beyond():
    hu = np.linspace(-1024, 3068, 40001, dtype=np.float32)
    back = np.interp(hu_codes(hu), CODE_KNOTS, HU_KNOTS)
    soft = (hu >= -200) & (hu <= 300)
    assert np.abs(back - hu)[soft].max() < 1.6  # 1, and half for the whole number that it is first
    assert np.abs(back - hu).max() < 4.6
    assert np.interp(hu_codes(np.float32([-3000, 9000])), CODE_KNOTS, HU_KNOTS).tolist() == [-1024, 3068]
    assert hu_codes(np.float32([40, 40]), np.array([True, False]))[1] == 0


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(*[st.integers(1, 200)] * 3),
    st.tuples(*[st.floats(0.3, 9)] * 3),
    st.integers(1000, 1_000_000),
)
def test_there_are_at_most_so_many_blocks_and_one_at_least(size, spacing, most):
    blocks = [n // step for n, step in zip(size, coarser(size, spacing, most), strict=True)]
    assert 1 <= np.prod(blocks) <= most
    assert min(blocks) >= 1


def test_a_native_scan_is_halved_within_its_slices():
    assert coarser((512, 512, 100), (0.8, 0.8, 3.0), MAX_VOXELS) == (2, 2, 1)


def test_means_of_blocks():
    array = np.random.default_rng(0).normal(size=(7, 9, 11)).astype(np.float32)
    means = block_means(array, (2, 3, 1))
    assert means.shape == (7, 3, 5)
    assert means[4, 1, 2] == pytest.approx(array[4, 3:6, 4:6].mean(), abs=1e-6)


def test_a_change_of_volume_is_told_beyond_the_affine():
    """An affine that doubles the volume: what is doubled again is one octave up; a fold has no logarithm."""
    affine = np.diag([2.0, -1.0, 1.0, 1.0])
    determinants = np.float32([[2, 4, 1, 0, -3]])
    assert volume_change(determinants, affine).tolist() == [[0, 1, -1, -np.inf, -np.inf]]
    codes = log_jacobian_codes(determinants, affine)
    assert codes.tolist() == [[NO_CHANGE, NO_CHANGE + STEPS_PER_OCTAVE, NO_CHANGE - STEPS_PER_OCTAVE, 0, 0]]
