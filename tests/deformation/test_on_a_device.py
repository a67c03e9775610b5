"""Deformations on a device that is no CPU: nothing mixes the two, and what comes out is what the CPU gives."""

import pytest
import torch

from mics.deformation.field import compose, downsample, exponentiate, integrate, invert, logarithm, resize, warp
from mics.deformation.inverse import correct_inverse_consistency
from mics.deformation.jacobian import fold_share, jacobian_determinant
from mics.deformation.transform import Transform
from mics.image.grid import Grid

SHAPE = (12, 10, 8)
GRID = Grid(SHAPE, (2.0, 2.0, 3.0), (0.0, 0.0, 0.0))
WORK = {
    "warp": lambda u, v: warp(v, u),
    "nearest": lambda u, v: warp(v.round(), u, mode="nearest", padding="zeros"),
    "many channels": lambda u, v: warp(v.repeat(1, 4, 1, 1, 1), u),
    "compose": compose,
    "exponentiate": lambda u, v: exponentiate(u),
    "logarithm": lambda u, v: logarithm(u, -u),
    "invert": lambda u, v: invert(u),
    "integrate": lambda u, v: integrate(1 + u, offset=v),
    "resize": lambda u, v: resize(u, (7, 6, 5)),
    "downsample": lambda u, v: downsample(u, (5, 4, 3)),
    "inverse consistency": lambda u, v: torch.cat(correct_inverse_consistency(u, -u)),
    "determinant": lambda u, v: jacobian_determinant(u),
    "fold share": lambda u, v: torch.as_tensor(fold_share(9 * u)),
    "in mm": lambda u, v: torch.from_numpy(Transform.from_voxels(u, GRID).displacement_mm),
}


@pytest.mark.parametrize("name", WORK)
def test_it_is_that_of_the_cpu(name, pretended_device):
    generator = torch.Generator().manual_seed(0)
    u, v = (resize(torch.rand(1, 3, 4, 4, 4, generator=generator) - 0.5, SHAPE) for _ in range(2))
    expected = WORK[name](u, v)
    found = WORK[name](u.to(pretended_device), v.to(pretended_device))
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
