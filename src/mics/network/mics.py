"""MICS: the symmetric, multi-step, inverse-consistent registration network (Estienne et al., sections 3.1 to 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mics.deformation.field import compose, integrate, resize, resize_displacement, warp
from mics.network.blocks import Decoder, Encoder
from mics.network.padding import pad_to_multiple
from mics.network.presets import NetworkConfig


@dataclass(frozen=True)
class Step:
    """What one step predicts, on the field grid (the padded input's extent divided by the stride), voxels of that grid.

    ``gradients``: of this step alone, 1 is the identity. ``displacement``: of all steps up to this one, composed.
    Each ``(2, B, 3, X, Y, Z)``: first A→B, then B→A.
    """

    gradients: Tensor
    displacement: Tensor


@dataclass(frozen=True)
class Prediction:
    """Both deformations of a pair after every step."""

    steps: tuple[Step, ...]
    padded_shape: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def displacement_ab(self) -> Tensor:
        """``(B, 3, X, Y, Z)`` in voxels of the input: ``warp(a, displacement_ab)`` looks like b."""
        return self._on_input(0)

    @property
    def displacement_ba(self) -> Tensor:
        """``(B, 3, X, Y, Z)`` in voxels of the input: ``warp(b, displacement_ba)`` looks like a."""
        return self._on_input(1)

    def _on_input(self, direction: int) -> Tensor:
        x, y, z = self.shape
        return resize_displacement(self.steps[-1].displacement[direction], self.padded_shape)[..., :x, :y, :z]


class MICS(nn.Module):
    """One encoder and one decoder for both directions; features merged by subtraction at every level.

    The decoder has no bias, so that equal volumes give a zero difference, zero logits and exactly the identity, for any
    weights. ``forward`` is symmetric by construction: swapping the volumes swaps the deformations.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.in_channels + (config.organs if config.organ_maps else 0)
        self.encoder = Encoder(inputs, config.channels, stem_stride=config.stride)
        self.decoder = Decoder(config.channels, normalise=config.decoder_normalisation)
        self.gradient_head = nn.Conv3d(config.channels[0], 3, 3, padding=1, bias=False)
        nn.init.normal_(self.gradient_head.weight, std=1e-3)
        if config.anchor == "line_mean":
            self.offset_head = nn.Conv3d(config.channels[-1], 3, 1, bias=False)
            nn.init.normal_(self.offset_head.weight, std=1e-3)

    def seen(self, windows: Tensor, organ_maps: Tensor | None) -> Tensor:
        """What :meth:`forward` takes of a volume: its windows, and its organ maps if this network sees them."""
        return torch.cat([windows, organ_maps], dim=1) if self.config.organ_maps and organ_maps is not None else windows

    def forward(self, a: Tensor, b: Tensor, *, steps: int = 2) -> Prediction:
        """Register ``a`` and ``b``, the windows ``(B, 3, X, Y, Z)`` in [0, 1] (see :meth:`seen`), in ``steps`` steps.

        At step i each volume is warped from its original by the composition of the steps so far, in one interpolation;
        the features of the unwarped volumes are computed once and serve as targets at every step.
        """
        shape = tuple(a.shape[2:])
        originals = pad_to_multiple(torch.cat([a, b]), self.config.divisor)
        padded_shape = tuple(originals.shape[2:])
        # Sampled once without displacement, because later steps sample too: sampling rounds, the normalisation would
        # amplify that difference, and equal volumes would drift apart from the second step on.
        still = torch.zeros_like(originals[:, :3])
        features = self.encoder(warp(originals, still))
        targets = [level.roll(a.shape[0], dims=0) for level in features]
        results: list[Step] = []
        for _ in range(steps):
            total = results[-1].displacement.flatten(0, 1) if results else None
            if total is not None:
                features = self.encoder(warp(originals, resize_displacement(total, padded_shape)))
            gradients, displacement = self.decode([f - t for f, t in zip(features, targets, strict=True)])
            if total is not None:
                displacement = compose(total, displacement)
            results.append(Step(gradients.unflatten(0, (2, -1)), displacement.unflatten(0, (2, -1))))
        return Prediction(tuple(results), padded_shape, shape)

    def decode(self, differences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Feature differences to the gradients of Φ in (0, 2) and the displacement that they integrate to."""
        decoded = self.decoder(differences)
        with torch.autocast(differences[0].device.type, enabled=False):
            logits = nn.functional.conv3d(decoded[0].float(), self.gradient_head.weight.float(), padding=1)
            gradients = 2 * torch.sigmoid(logits)
            offset = None
            if self.config.anchor == "line_mean":
                # One unit of the head is one voxel of the level that it reads.
                coarse = nn.functional.conv3d(decoded[-1].float(), self.offset_head.weight.float())
                offset = resize(coarse, gradients.shape[2:]) * 2 ** (len(decoded) - 1)
            return gradients, integrate(gradients, anchor=self.config.anchor, offset=offset)
