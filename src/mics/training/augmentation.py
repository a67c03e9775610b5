"""Random changes of a training case: affine and elastic deformation, mirroring, intensity."""

import math

import torch
from torch import Tensor

from mics.deformation.field import identity, resize, warp


def random_deformation(
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    rotation_degrees: float,
    scale: float,
    shift: float,
    elastic: float,
) -> Tensor:
    """A random affine plus a smooth random displacement, ``(1, 3, X, Y, Z)`` in voxels.

    Rotation about each axis up to ``rotation_degrees``, scaling of each axis by up to ``1 ± scale``, translation up to
    ``shift`` voxels, elastic displacement with a standard deviation of ``elastic`` voxels on a coarse grid of nodes.
    """

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(3, generator=generator) - 1) * limit

    linear = torch.diag(1 + uniform(scale))
    for axis, angle in enumerate((uniform(rotation_degrees) * math.pi / 180).tolist()):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        linear = turn @ linear
    centred = identity(shape) - (torch.tensor(shape).view(1, 3, 1, 1, 1) - 1) / 2
    affine = torch.einsum("rc,bcxyz->brxyz", linear - torch.eye(3), centred) + uniform(shift).view(1, 3, 1, 1, 1)
    nodes = [max(n // 16, 3) for n in shape]
    return affine + resize(torch.randn(1, 3, *nodes, generator=generator) * elastic, shape)


def deform(hu: Tensor, labels: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Warp HU linearly and labels with nearest neighbour; beyond the volume HU repeats its border, labels are background."""
    return warp(hu, displacement), warp(labels, displacement, mode="nearest", padding="zeros")


def mirror(volume: Tensor) -> Tensor:
    """Left to right. Labels keep their names: the kidney on the liver's side stays the right one.

    That is what a file with a mirrored header shows, so a network trained with it takes such files as they are.
    """
    return volume.flip(2)


def random_intensity(
    hu: Tensor, generator: torch.Generator, *, contrast: float, brightness: float, noise: float
) -> Tensor:
    """Scale HU about 50 by up to ``1 ± contrast``, shift by up to ``brightness`` HU, add noise of up to ``noise`` HU."""
    gain, offset, sigma = (2 * torch.rand(3, generator=generator) - 1).tolist()
    grain = torch.randn(hu.shape, generator=generator) * abs(sigma) * noise
    return (hu - 50) * (1 + gain * contrast) + 50 + offset * brightness + grain
