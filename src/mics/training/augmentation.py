"""Random changes of a training case: affine and elastic deformation, intensity, mirroring.

Chance is drawn where a case is read (on the CPU, from the sample's own generator), the arithmetic is done where the
tensors lie; hence a sample is the same for every device and number of worker processes.

**Mirroring.** A flipped scan can mean two things, and the labels tell which:

- Labels stay with their anatomy (:func:`names` without ``swapped``): the kidney on the liver's side is still the right
  one. That is what a file with a mirrored header shows; a network trained with it takes such files as they are. In a
  pair, both members are flipped together.
- Left and right labels change places (``swapped``): left is where left was before, so the picture is a subject with situs
  inversus. Done to one member of a pair, the kidneys and adrenals still have their partners in the other member, but
  liver, spleen, stomach, gallbladder and the great vessels lie on the wrong side, and registering them asks for a
  displacement across the body. It teaches something about paired organs alone; use it with ``supervised_organs``
  restricted to those. For segmentation the two contradict each other (the same picture with other labels): use one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mics.deformation.field import identity, voxel_ratio, warp
from mics.organs import MIRRORED, ORGAN_NAMES
from mics.training.recipe import Augmentation

LEVEL_HU = 50
"""Contrast is scaled about this value, that of soft tissue."""


class Region(NamedTuple):
    """A part of a volume: first voxel and size, both (X, Y, Z)."""

    start: Sequence[int]
    size: Sequence[int]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices that cut the part out of an array."""
        return tuple(slice(first, first + length) for first, length in zip(self.start, self.size, strict=True))


class Deformation(NamedTuple):
    """A random affine about a volume's middle plus a smooth random displacement, in the volume's voxels.

    ``linear`` (3, 3) is the affine's matrix minus the identity, ``shift`` (3,) its translation, ``nodes``
    ``(1, 3, *nodes)`` the displacement at a coarse grid of nodes, ``shape`` the volume's.
    """

    linear: Tensor
    shift: Tensor
    nodes: Tensor
    shape: Sequence[int]

    @classmethod
    def random(cls, shape: tuple[int, int, int], settings: Augmentation, generator: torch.Generator) -> Self:
        """Rotation about each axis, scaling of each axis, translation and elastic displacement.

        Uniform up to ``± rotation_degrees``, ``1 ± scale`` and ``± shift`` voxels; ``elastic`` is the standard deviation
        of the nodes in voxels.
        """

        def uniform(limit: float) -> Tensor:
            return (2 * torch.rand(3, generator=generator) - 1) * limit

        matrix = torch.diag(1 + uniform(settings.scale))
        for axis, angle in enumerate((uniform(settings.rotation_degrees) * math.pi / 180).tolist()):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            rotation = torch.eye(3)
            rotation[i, i] = rotation[j, j] = math.cos(angle)
            rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
            matrix = rotation @ matrix
        shift = uniform(settings.shift)
        nodes = torch.randn(1, 3, *(max(n // 16, 3) for n in shape), generator=generator) * settings.elastic
        return cls(matrix - torch.eye(3), shift, nodes, shape)

    def source(self, box: Region) -> Region:
        """The part of the volume from which the voxels of ``box`` are filled; at least one voxel."""
        half = (torch.tensor(box.size) - 1) / 2
        middle = torch.tensor(box.start) + half
        moved = middle + self.linear @ (middle - (torch.tensor(self.shape) - 1) / 2) + self.shift
        # Interpolation stays within the nodes' largest; one voxel more for the neighbours and for rounding.
        reach = (torch.eye(3) + self.linear).abs() @ half + self.nodes.abs().amax((0, 2, 3, 4)) + 1
        last = torch.tensor(self.shape) - 1
        start = (moved - reach).floor().long().clamp(min=torch.zeros(3, dtype=torch.long), max=last)
        stop = (moved + reach).ceil().long().clamp(min=start, max=last) + 1
        return Region(start.tolist(), (stop - start).tolist())

    def displacement(self, box: Region) -> Tensor:
        """Displacement of the voxels of ``box``, ``(1, 3, *box.size)`` in voxels, on the device of the tensors."""
        own = identity(box.size, device=self.nodes.device)
        voxels = own + _column(box.start, own)
        centred = voxels - _column([(n - 1) / 2 for n in self.shape], own)
        ratio = voxel_ratio(self.shape, self.nodes.shape[2:], device=own.device)
        displacement = warp(self.nodes, voxels * ratio - own) + self.shift.view(1, 3, 1, 1, 1)
        # Added axis by axis: matrix products may be done in reduced precision on a GPU, geometry may not.
        for axis in range(3):
            displacement = displacement + self.linear[:, axis].view(1, 3, 1, 1, 1) * centred[:, [axis]]
        return displacement


class Intensity(NamedTuple):
    """HU are scaled about :data:`LEVEL_HU` by ``gain``, then shifted by ``offset``, then ``noise`` is added (all in HU)."""

    gain: float
    offset: float
    noise: Tensor

    @classmethod
    def random(cls, size: Sequence[int], settings: Augmentation, generator: torch.Generator) -> Self:
        """Gain in ``1 ± contrast``, offset in ``± brightness`` HU, noise with a deviation of up to ``noise`` HU."""
        gain, offset, sigma = (2 * torch.rand(3, generator=generator) - 1).tolist()
        noise = torch.zeros(1, 1, 1, 1, 1)
        if settings.noise:
            noise = torch.randn(1, 1, *size, generator=generator) * abs(sigma) * settings.noise
        return cls(1 + gain * settings.contrast, offset * settings.brightness, noise.half())

    def apply(self, hu: Tensor) -> Tensor:
        """The changed HU of ``(1, 1, X, Y, Z)``."""
        return (hu - LEVEL_HU) * self.gain + LEVEL_HU + self.offset + self.noise


def deform(hu: Tensor, labels: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Warp HU linearly and labels with nearest neighbour; beyond the volume HU repeats its border, labels are background."""
    warped = warp(labels, displacement, mode="nearest", padding="zeros")
    return warp(hu, displacement), warped.round().to(labels.dtype)


def mirror(volume: Tensor) -> Tensor:
    """Left to right, ``(B, C, X, Y, Z)``."""
    return volume.flip(2)


def swap_left_right(maps: Tensor) -> Tensor:
    """Organ maps ``(B, organs, X, Y, Z)`` with those of the left and the right organs exchanged."""
    return maps[:, [MIRRORED.get(organ, organ) - 1 for organ in ORGAN_NAMES]]


def names(organs: Sequence[int], supervised: Sequence[int] | None, *, swapped: bool) -> tuple[Tensor, Tensor]:
    """What a case's labels are called in a sample, and which organs it then annotates.

    ``organs`` are annotated in the case; ``supervised`` those wanted, by their name in the sample (``None``: all). Returns
    a table (256,) uint8 from the label in the file to that in the sample, where everything else is background, and
    (organs,) bool.
    """
    table, annotated = torch.zeros(256, dtype=torch.uint8), torch.zeros(len(ORGAN_NAMES), dtype=torch.bool)
    for organ in organs:
        name = MIRRORED.get(organ, organ) if swapped else organ
        if supervised is None or name in supervised:
            table[organ] = name
            annotated[name - 1] = True
    return table, annotated


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)
