"""What the networks are given of a pair."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mics.deformation.field import compose, exponentiate, resize_displacement
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.network.card import ModelCard
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import LoadedModel
from mics.registration import predict


def test_what_is_left_out_does_not_count_in_its_scan_alone(scan):
    """A box of the moving world, given on the moving grid, found again through the affine."""
    grid = Grid.axis_aligned((-100, -80, -60), (100, 80, 60), 8.0, "LAS")
    shift = np.eye(4)
    shift[:3, 3] = 16, 0, -8
    moving_grid = Grid.axis_aligned((-120, -100, -90), (130, 100, 80), 4.0, "RAS")
    i, j, k = np.indices(moving_grid.size)
    places = moving_grid.voxel_to_world(np.stack([i, j, k], axis=-1))
    mask = Image((np.abs(places) < 20).all(axis=-1).astype(np.uint8), moving_grid)
    pair = predict.Pair(scan(moving_grid), scan(grid), shift, grid, moving_exclude=mask)
    seen = np.ones(grid.size, dtype=bool)
    counted = predict.compared(pair, (seen, seen), 8.0).numpy()
    assert counted[1].min() == 1
    out = np.stack(np.nonzero(counted[0, 0] == 0), axis=-1)
    centre = grid.voxel_to_world(out).mean(axis=0)
    np.testing.assert_allclose(centre, [-16, 0, 8], atol=4)
    # 40 mm wide, and what linear interpolation touches around it.
    assert np.all(np.ptp(grid.voxel_to_world(out), axis=0) <= 48)
    assert np.all(np.ptp(grid.voxel_to_world(out), axis=0) >= 32)


def test_masks_that_together_leave_nothing_to_compare(scan):
    """One covers the left half, the other the right; a part that is left over of them is enough, unless it is air."""
    grid = Grid.axis_aligned((-100, -80, -60), (100, 80, 60), 8.0, "LAS")
    seen = np.ones(grid.size, dtype=bool)
    tissue = torch.ones(1, 3, *grid.size)
    tissue[..., :2, :, :] = 0
    for first_left_over, refused in ((0, True), (2, True), (3, False)):
        masks = np.zeros((2, *grid.size), np.uint8)
        masks[0, first_left_over:10], masks[1, 10:] = 1, 1
        pair = predict.Pair(scan(grid), scan(grid), np.eye(4), grid, *(Image(mask, grid) for mask in masks))
        counted = predict.compared(pair, (seen, seen), 8.0)
        if refused:
            with pytest.raises(InputError, match="nothing is left to compare"):
                predict.refuse_nothing_compared(pair, counted, (tissue, tissue))
        else:
            predict.refuse_nothing_compared(pair, counted, (tissue, tissue))


def test_coarser_maps_are_averages_of_finer_ones():
    """Of a step within a voxel of the coarse grid, half; of a ramp, itself."""
    step, ramp = torch.zeros(2, 1, 1, 21, 9, 9)
    step[:, :, 10:] = 1
    step[:, :, 10] = 0.5
    ramp += torch.arange(21).view(-1, 1, 1)
    coarse = predict.averaged(torch.cat([step, ramp], dim=1), (11, 5, 5))
    assert coarse.shape == (1, 2, 11, 5, 5)
    assert coarse[0, 0, :, 2, 2].tolist() == pytest.approx([0] * 5 + [0.5] + [1] * 5)
    torch.testing.assert_close(coarse[0, 1, 1:-1, 2, 2], torch.arange(2.0, 19.0, 2))
    torch.testing.assert_close(predict.averaged(ramp, (21, 9, 9)), ramp)


def test_inverted_displacements_lie_on_a_grid_of_three_millimetres_and_invert_each_other_better():
    grid = Grid.axis_aligned((-96, -88, -80), (96, 88, 80), 8.0, "LAS")
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(1, 3, *grid.size)), (0, 0, 3, 3, 3))
    velocity = torch.from_numpy((3 * noise / np.abs(noise).max()).astype(np.float32))
    coarse = exponentiate(velocity), exponentiate(-velocity)
    there, back = predict.inverted(coarse, grid)
    assert tuple(there.shape[2:]) == (65, 60, 54)
    interpolated = [resize_displacement(way, there.shape[2:]) for way in coarse]
    missed, left = (compose(*pair).norm(dim=1).mean() for pair in (interpolated, (there, back)))
    assert left < missed / 3
    for new, old in zip((there, back), interpolated, strict=True):
        assert (new - old).norm(dim=1).mean() < 2 * missed
    again = predict.inverted((there, back), grid)
    assert again[0].shape == there.shape


def test_displacements_that_are_no_numbers_are_refused():
    network = build(MICSConfig(channels=(4, 8), decoder_normalisation=False)).eval()
    model = LoadedModel(network, "own", ModelCard(network=network.config, sha256="", spacing_mm=8.0, hu_range=None))
    volumes = torch.rand(2, 1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    predict.predict(model, (volumes[0], volumes[1]), None, 2)
    volumes[1, 0, 0, 8, 8, 8] = torch.nan
    with pytest.raises(InputError, match="own predicts displacements of this pair that are NaN or infinite"):
        predict.predict(model, (volumes[0], volumes[1]), None, 2)
