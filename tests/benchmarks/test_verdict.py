from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mics.image.grid import Grid
from mics.image.io import Image

GRID = Grid((60, 60, 33), (4.0, 4.0, 5.0), (-118.0, -118.0, -80.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.fixture
def verdict(benchmark_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, beside which its helper lies."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return benchmark_script("verdict")


@pytest.fixture
def scan(verdict: ModuleType) -> object:
    """Voxels that hold their number along the body; labels of 1 in the lower half."""
    height = np.broadcast_to(np.arange(GRID.size[2]), GRID.size)
    return verdict.Scan(Image(height.astype(np.float32), GRID), Image((height < 16).astype(np.uint8), GRID))


@pytest.mark.parametrize("axes", [(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1)])
def test_a_turned_header_takes_points_to_the_other_side_of_the_middle(verdict, scan, axes):
    turned = verdict.turned(axes)(scan)
    voxel = (7, 11, 3)
    before = GRID.voxel_to_world(voxel) - GRID.centre
    np.testing.assert_allclose(turned.image.grid.voxel_to_world(voxel) - GRID.centre, axes * before, atol=1e-9)
    np.testing.assert_array_equal(turned.image.array, scan.image.array)
    assert turned.labels.grid == turned.image.grid


def test_thirds_show_what_they_showed_where_it_was(verdict, scan):
    for which, heights in (("lower", range(11)), ("upper", range(22, 33))):
        part = verdict.third(scan, which)
        assert np.unique(part.image.array).tolist() == list(heights)
        np.testing.assert_allclose(part.image.grid.voxel_to_world((0, 0, 0)), GRID.voxel_to_world((0, 0, heights[0])))


def test_water_is_a_cylinder_along_the_body(verdict, scan):
    array = verdict.water(verdict.Scan(Image(scan.image.array - 1000, GRID), scan.labels))
    inside = array == 0
    assert inside[:, :, 5].sum() * 16 == pytest.approx(np.pi * 110**2, rel=0.02)
    assert (inside == inside[:, :, :1]).all()


def test_a_failure_that_came_out_well_is_not_counted(verdict):
    good, bad = {"labels": {"moving_to_fixed": {"mean_dice": 0.6}}}, {"labels": {"moving_to_fixed": {"mean_dice": 0.1}}}
    assert verdict.came_out_well(good)
    assert not verdict.came_out_well(bad)
    assert not verdict.came_out_well({"labels": None})
    assert not verdict.came_out_well({"refused": "No."})
