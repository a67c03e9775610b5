"""Inverse consistency on cases worked out by hand."""

import math
import time
from functools import partial
from threading import Event

import numpy as np
import pytest
import torch

from mics.deformation.slabs import each_slab
from mics.deformation.transform import Transform
from mics.evaluation import consistency
from mics.evaluation.consistency import inverse_consistency_mm
from mics.image.grid import Grid

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def constant(vector, grid):
    return Transform(np.broadcast_to(np.float32(vector), (*grid.size, 3)).copy(), grid)


def test_translations_that_undo_each_other_are_consistent_and_others_are_not():
    grid = Grid((10, 9, 8), (2.0, 1.0, 3.0), (5.0, -7.0, 11.0), OBLIQUE)
    mean, largest = inverse_consistency_mm(constant((2, 1, 0), grid), constant((-2, -1, 0), grid))
    assert (mean, largest) == pytest.approx((0, 0), abs=1e-4)
    mean, largest = inverse_consistency_mm(constant((2, 1, 0), grid), constant((1, 3, 0), grid))
    assert (mean, largest) == pytest.approx((5, 5), abs=1e-4)


def test_consistency_across_two_grids_of_a_scaling():
    fixed = Grid((8, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    moving = Grid((12, 13, 14), (3.0, 2.0, 2.5), (-2.0, 25.0, -1.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    forward = Transform((0.5 * fixed.points()).astype(np.float32), fixed)
    backward = Transform((-moving.points() / 3).astype(np.float32), moving)
    mean, largest = inverse_consistency_mm(forward, backward)
    assert (mean, largest) == pytest.approx((0, 0), abs=1e-4)
    # Half a millimetre too short everywhere along the first axis.
    short = Transform(backward.displacement_mm + np.float32([0.5, 0, 0]), moving)
    assert inverse_consistency_mm(forward, short) == pytest.approx((0.5, 0.5), abs=1e-4)


def test_points_that_leave_the_other_grid_are_not_counted():
    grid = Grid((10, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    forward = np.zeros((10, 4, 4, 3), dtype=np.float32)
    forward[5:, ..., 0] = 100
    forward[:5, ..., 1] = np.arange(5)[:, None, None] / 10
    # The mapped points of the last row of j leave the grid too, save those that stay in place.
    mean, largest = inverse_consistency_mm(Transform(forward, grid), constant((0, 0, 0), grid))
    assert largest == pytest.approx(0.4)
    assert mean == pytest.approx(3 * (0.1 + 0.2 + 0.3 + 0.4) / (4 + 4 * 3))
    mean, largest = inverse_consistency_mm(constant((100, 0, 0), grid), constant((0, 0, 0), grid))
    assert math.isnan(mean)
    assert math.isnan(largest)


class EndsInThisOrder:
    """Displacements of two slabs, of which the second is not given before the first is, or the other way round."""

    def __init__(self, values, slab_depth, first):
        self.values, self.slab_depth, self.first, self.given = values, slab_depth, first, Event()

    def part(self, box, channels=slice(None)):
        if box[0].start // self.slab_depth == self.first:
            self.given.set()
        else:
            assert self.given.wait(10)
            time.sleep(0.2)  # until the other has been measured
        return np.moveaxis(self.values[(*box, channels)], -1, 0)


def test_the_mean_does_not_depend_on_which_thread_ends_first(monkeypatch):
    grid, around = (
        Grid(size, (1.0, 1.0, 1.0), (start,) * 3) for size, start in (((7, 40, 40), 0.0), ((17, 50, 50), -5.0))
    )
    monkeypatch.setattr(consistency, "each_slab", partial(each_slab, voxels=4 * 40 * 40))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    random = np.random.default_rng(0)
    lengths = np.where(random.random((*grid.size, 1)) < 0.5, 1, 1e-9) * random.uniform(1, 2, (*grid.size, 1))
    values = (lengths * np.ones(3)).astype(np.float32)
    backward = constant((0, 0, 0), around)
    means = {
        inverse_consistency_mm(Transform.on_demand(EndsInThisOrder(values, 4, first), grid), backward)
        for first in (0, 1)
    }
    assert len(means) == 1
