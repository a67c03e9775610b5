"""Interpolation of many channels, against SciPy and PyTorch's own."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from mics.deformation import many_channels
from mics.deformation.many_channels import interpolate

SHAPES = pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7), (5, 1, 1), (2, 2, 2)])


def drawn(shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """A volume of nine channels, and places within it, on its voxels and beyond."""
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand(2, 9, *shape, generator=generator)
    position = torch.rand(2, 3, 4, 5, 6, generator=generator) * 9 - 1
    position[:, :, 0] = position[:, :, 0].round()
    return volume, position


@SHAPES
def test_values_are_scipys(shape):
    volume, position = drawn(shape)
    found = interpolate(volume, position).numpy()
    for b in range(2):
        for c in range(9):
            wanted = ndimage.map_coordinates(volume[b, c].numpy(), position[b].numpy(), order=1, mode="nearest")
            np.testing.assert_allclose(found[b, c], wanted, atol=1e-6)


@SHAPES
@pytest.mark.parametrize("chunk", [7, 1 << 17])
def test_gradients_are_grid_samples(shape, chunk, monkeypatch):
    monkeypatch.setattr(many_channels, "_CHUNK", chunk)
    volume, position = drawn(shape)
    position = (position + 0.01).requires_grad_(True)  # off the voxels, where there is no derivative
    size = torch.tensor([max(n - 1, 1) for n in shape]).view(1, 3, 1, 1, 1)
    grid = (2 * position / size - 1).permute(0, 2, 3, 4, 1).flip(-1)
    theirs = functional.grid_sample(volume, grid, padding_mode="border", align_corners=True)
    weight = torch.rand(theirs.shape, generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad(theirs, position, weight)
    (found,) = torch.autograd.grad(interpolate(volume, position), position, weight)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_no_number_in_gives_none_out_and_infinity_the_border():
    volume = torch.rand(1, 8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    position = torch.ones(1, 3, 4, 1, 1)
    position[0, 1, :3, 0, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = interpolate(volume, position)[0, :, :, 0, 0]
    assert bool(found[:, 0].isnan().all())
    torch.testing.assert_close(found[:, 1:], volume[0, :, 1, [2, 0, 1], 1])
