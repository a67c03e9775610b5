"""Random contrast phases: each organ's enhancement changed by itself, from none at all to more than it had.

A network that has seen one phase knows its organs by their brightness in it. Here they lose or change it in training: most scans
of the world are taken without contrast medium, earlier, or later than the few at hand.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from mics.organs import ORGAN_NAMES

PLAIN_HU = (45, 32, 32, 12, 38, 55, 38, 42, 42, 42, 38, 30, 30)
"""Of each organ without contrast medium, in the order of their ids: textbook values."""

_ENHANCED = (1, 1, 1, 0, 0.5, 1, 0.5, 1, 1, 1, 1, 1, 1)
"""How far each organ follows the phase: bile not at all, walls by half."""
_SPREAD_HU = (20, 30, 30, 12, 10, 15, 20, 60, 35, 35, 15, 15, 15)
"""Standard deviation of what an organ has by itself beside the phase: vessels and kidneys most."""
_TWINS = ((2, 3), (12, 13))
"""Left and right organs are filled by the same blood: they share nearly all of it."""
_WITHOUT = 0.25
"""Share of the phases that have no contrast medium at all."""
_STRONGEST = 1.3
_TEXTURE = 0.5
"""Of an organ's contrast within itself (vessels, cortex, noise), what stays without any medium."""
_SOFT_HU, _BONE_HU = 60.0, 200.0
"""Between these, what is not labelled may be a vessel."""


class PhaseChange(NamedTuple):
    """What a contrast phase makes of a scan.

    ``gain`` (1 + organs,) scales what is left of each organ's enhancement over :data:`PLAIN_HU`, ``offset`` (1 + organs,) is
    added, in HU, ``texture`` (1 + organs,) scales an organ's differences from its own mean; all by label, the background
    first, which keeps its values. ``vessels``: what is left of the brightness of unlabelled soft tissue above 60 HU.
    """

    gain: Tensor
    offset: Tensor
    texture: Tensor
    vessels: Tensor

    @classmethod
    def random(cls, generator: torch.Generator) -> Self:
        """One factor for all organs, between 0 and 1.3, in a quarter of the cases 0, and something of its own for each."""
        left = float(torch.rand((), generator=generator)) * _STRONGEST
        if float(torch.rand((), generator=generator)) < _WITHOUT:
            left = 0.0
        own = torch.randn(len(ORGAN_NAMES), generator=generator) * torch.tensor(_SPREAD_HU)
        for first, second in _TWINS:
            own[second - 1] = own[first - 1] + 0.15 * (own[second - 1] - own[first - 1])
        gain = 1 + torch.tensor(_ENHANCED) * (left - 1)
        # Without medium, subjects differ less.
        offset = own * (0.3 + 0.7 * min(left, 1.0))
        texture = _TEXTURE + (1 - _TEXTURE) * gain
        vessels = 1 - float(torch.rand((), generator=generator)) * (1 - min(left, 1.0))
        return cls(
            _with_background(gain, 1), _with_background(offset, 0), _with_background(texture, 1), torch.tensor(vessels)
        )

    def apply(self, hu: Tensor, labels: Tensor) -> Tensor:
        """HU ``(1, 1, X, Y, Z)`` in this phase; ``labels`` of the same shape say where organs are.

        An organ of mean m, plain value p, gain g, offset o and texture t gets p + g (m - p) + o + t (HU - m), softly towards
        its border.
        """
        where = labels.long()
        means = torch.stack(
            [_mean(hu, where == organ, plain) for organ, plain in zip(ORGAN_NAMES, PLAIN_HU, strict=True)]
        )
        plain = torch.tensor(PLAIN_HU, dtype=hu.dtype, device=hu.device)
        constant = plain + self.gain[1:] * (means - plain) + self.offset[1:] - self.texture[1:] * means
        factors = _smoothed(self.texture[where])
        constants = _smoothed(_with_background(constant, 0)[where])
        background = torch.where(where > 0, hu, _fainter(hu, self.vessels))
        return background * factors + constants


def _fainter(hu: Tensor, left: Tensor) -> Tensor:
    """Soft tissue above 60 HU with what is ``left`` of its brightness; from 200 HU on, at twice that, unchanged."""
    # Rises again above the vessels so that the curve has no step: bone stays brighter than they.
    faint = _SOFT_HU + left * (hu - _SOFT_HU)
    share = ((hu - _BONE_HU) / _BONE_HU).clamp(0, 1)
    return torch.where(hu > _SOFT_HU, torch.lerp(faint, hu, share), hu)


def _mean(hu: Tensor, inside: Tensor, otherwise: float) -> Tensor:
    count = inside.sum()
    return torch.where(count > 0, (hu * inside).sum() / count.clamp_min(1), torch.full_like(hu.sum(), otherwise))


def _smoothed(values: Tensor) -> Tensor:
    return functional.avg_pool3d(values, 3, 1, 1, count_include_pad=False)


def _with_background(values: Tensor, background: float) -> Tensor:
    return torch.cat([values.new_full((1,), background), values])
