"""How a scan was taken, at random: thick slices, a sharp or smooth kernel, the noise of a dose, a field of view."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from mics.image.hu import AIR_HU
from mics.training.recipe import Augmentation

_KERNEL = (-0.7, 1.0)
"""How much of what a mean over 3³ voxels takes away is added: the smoothest and the sharpest kernel."""
_BODY_HU = -100.0
_WATER_PER_MM = 0.019
"""Linear attenuation of water at the mean energy of a CT beam, 70 keV (NIST)."""
_NARROWEST, _WIDEST = 0.38, 0.55
"""Radius of the field of view, as a share of the volume's width."""
_MAX_CUT = 0.4
"""Of the volume's height, at either end."""


class ScannerFieldOfView(NamedTuple):
    """What a scanner shows of a volume: a cylinder along its last axis; lengths in voxels of the volume.

    ``centre`` and ``radius`` in the plane of the first two axes, from ``bottom`` to ``top`` on the last.
    """

    centre: tuple[float, float]
    radius: float
    bottom: float
    top: float

    @classmethod
    def random(cls, shape: Sequence[int], generator: torch.Generator) -> Self:
        """A radius of .38 to .55 of the width about a centre a tenth of it off; one end or the other cut by up to .4."""
        size, left, back, end, cut = torch.rand(5, generator=generator).tolist()
        width, depth, height = shape
        radius = (_NARROWEST + size * (_WIDEST - _NARROWEST)) * width
        centre = ((width - 1) / 2 + (left - 0.5) * 0.2 * width, (depth - 1) / 2 + (back - 0.5) * 0.2 * depth)
        missing = cut * _MAX_CUT * height
        bottom, top = (missing, height - 1.0) if end < 0.5 else (0.0, height - 1.0 - missing)
        return cls(centre, radius, bottom, top)

    def shown(self, start: Sequence[int], size: Sequence[int], device: torch.device) -> Tensor:
        """Which voxels of a part of the volume are seen, bool ``(*size,)``; ``start`` is its first voxel."""
        x, y, z = (
            torch.arange(first, first + length, device=device) for first, length in zip(start, size, strict=True)
        )
        round_about = (x - self.centre[0])[:, None].square() + (y - self.centre[1])[None].square() <= self.radius**2
        return round_about[:, :, None] & ((z >= self.bottom) & (z <= self.top))


class Acquisition(NamedTuple):
    """What a scanner makes of a body.

    ``slices``: weight of either neighbouring slice, 0 for thin ones, 1 for three times as thick. ``kernel``: above 0 sharp, below
    smooth. ``noise`` (1, 1, X, Y, Z): in HU, at the mean thickness of the body. ``view``: None shows everything.
    """

    slices: float
    kernel: float
    noise: Tensor | None
    view: ScannerFieldOfView | None

    @classmethod
    def random(
        cls, shape: Sequence[int], size: Sequence[int], settings: Augmentation, generator: torch.Generator
    ) -> Self:
        """A random one of a part of ``size`` of a volume of ``shape``, the four by their own probabilities or strengths."""
        if not (settings.thick_slices or settings.kernel or settings.dose_noise or settings.field_of_view):
            return cls(0.0, 0.0, None, None)  # nothing is drawn, so that samples without these are as they were
        happens, thickness, sharp, dose = torch.rand((4, 2), generator=generator).unbind()
        slices = float(thickness[1]) if thickness[0] < settings.thick_slices else 0.0
        kernel = _KERNEL[0] + float(sharp[1]) * (_KERNEL[1] - _KERNEL[0]) if sharp[0] < settings.kernel else 0.0
        noise = None
        if settings.dose_noise:
            # Doses differ by factors: their logarithm is uniform, over a hundredfold, and the noise follows its root.
            sigma = settings.dose_noise * 10 ** -float(dose[0])
            noise = (torch.randn(1, 1, *size, generator=generator) * sigma).half()
        view = ScannerFieldOfView.random(shape, generator) if happens[0] < settings.field_of_view else None
        return cls(slices, kernel, noise, view)

    def apply(self, hu: Tensor, spacing_mm: float) -> Tensor:
        """HU ``(1, 1, X, Y, Z)`` as this scanner shows them, but for its field of view; voxels of ``spacing_mm``."""
        if self.slices:
            below, above = functional.pad(hu, (1, 1, 0, 0, 0, 0), mode="replicate").unfold(4, 3, 1)[..., ::2].unbind(-1)
            hu = (hu + self.slices * (below + above)) / (1 + 2 * self.slices)
        noise = None if self.noise is None else self.noise * noise_profile(hu, spacing_mm)
        if self.kernel:
            hu = _filtered(hu, self.kernel)
            # The noise has gone through the same kernel.
            noise = None if noise is None else _filtered(noise, self.kernel)
        return hu if noise is None else hu + noise


def noise_profile(hu: Tensor, spacing_mm: float) -> Tensor:
    """Noise of every slice ``(1, 1, 1, 1, Z)`` against the mean over the slices' thickness, at a constant current of the tube.

    Of the photons, exp(-μd) come through a slice of diameter d, and the noise is the inverse root of their number; d is that of
    the circle as large as the body there.
    """
    area = (hu > _BODY_HU).sum((2, 3), keepdim=True) * spacing_mm**2
    diameter = 2 * (area / math.pi).sqrt()
    return ((diameter - diameter.mean()) * _WATER_PER_MM / 2).exp()


def unseen_as_air(hu: Tensor, shown: Tensor) -> Tensor:
    """HU with air where ``shown`` is false."""
    return torch.where(shown, hu, torch.full_like(hu, AIR_HU))


def _filtered(volume: Tensor, kernel: float) -> Tensor:
    return volume + kernel * (volume - functional.avg_pool3d(volume, 3, 1, 1, count_include_pad=False))
