"""What of either scan counts where the two are compared."""

import dataclasses

import numpy as np
import pytest
import torch

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.inputs import Scan
from mics.registration.pair import Pair
from mics.registration.refine_settings import EFFORTS
from mics.registration.stage import Alignment, State, Views
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.organ_maps import compared


def state_of(fixed, moving, grid, affine, *, fixed_exclude=None, moving_exclude=None):
    """Both scans wholly in view."""
    scans = Pair(
        fixed=Scan(fixed, None, fixed_exclude, None, None, None),
        moving=Scan(moving, None, moving_exclude, None, None, None),
    )
    everything = np.ones(grid.size, dtype=bool)
    alignment = Alignment(
        affine=affine,
        to_scans=Pair(fixed=np.eye(4), moving=affine),
        grid=grid,
        in_view=Pair(fixed=everything, moving=everything),
    )
    return State(scans=scans, device=torch.device("cpu"), alignment=alignment)


def test_what_is_left_out_does_not_count_in_its_scan_alone(scan):
    """A box of the moving world, given on the moving grid, found again through the affine."""
    grid = Grid.axis_aligned((-100, -80, -60), (100, 80, 60), 8.0, "LAS")
    shift = np.eye(4)
    shift[:3, 3] = 16, 0, -8
    moving_grid = Grid.axis_aligned((-120, -100, -90), (130, 100, 80), 4.0, "RAS")
    i, j, k = np.indices(moving_grid.size)
    places = moving_grid.voxel_to_world(np.stack([i, j, k], axis=-1))
    mask = Image((np.abs(places) < 20).all(axis=-1).astype(np.uint8), moving_grid)
    counted = compared(state_of(scan(grid), scan(moving_grid), grid, shift, moving_exclude=mask), 8.0)
    assert counted.fixed.min() == 1
    out = np.stack(np.nonzero(counted.moving[0, 0].numpy() == 0), axis=-1)
    centre = grid.voxel_to_world(out).mean(axis=0)
    np.testing.assert_allclose(centre, [-16, 0, 8], atol=4)
    # 40 mm wide, and what linear interpolation touches around it.
    assert np.all(np.ptp(grid.voxel_to_world(out), axis=0) <= 48)
    assert np.all(np.ptp(grid.voxel_to_world(out), axis=0) >= 32)


def test_masks_that_together_leave_nothing_to_compare(scan):
    """One covers the left half, the other the right; a part that is left over of them is enough, unless it is air."""
    grid = Grid.axis_aligned((-100, -80, -60), (100, 80, 60), 8.0, "LAS")
    tissue = torch.ones(1, 3, *grid.size)
    tissue[..., :2, :, :] = 0
    organs = torch.zeros(1, 13, *grid.size)
    for first_left_over, refused in ((0, True), (2, True), (3, False)):
        masks = np.zeros((2, *grid.size), np.uint8)
        masks[0, first_left_over:10], masks[1, 10:] = 1, 1
        moving_mask, fixed_mask = (Image(mask, grid) for mask in masks)
        state = state_of(scan(grid), scan(grid), grid, np.eye(4), fixed_exclude=fixed_mask, moving_exclude=moving_mask)
        views = Views(
            windows=Pair(fixed=tissue, moving=tissue),
            organs=Pair(fixed=organs, moving=organs),
            compared=compared(state, 8.0),
            spacing_mm=8.0,
        )
        stage, state = InstanceOptimisation(EFFORTS["fast"]), dataclasses.replace(state, organ_views=views)
        if refused:
            with pytest.raises(InputError, match="nothing is left to compare"):
                stage.run(state)
        else:
            stage.run(state)
