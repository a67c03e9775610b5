"""LapIRN: stationary velocities from a pyramid of three networks, trained one after the other (Mok and Chung 2020).

For comparison with the paper's network. It is not symmetric: the other direction is the same network with the volumes exchanged,
so that neither are the directions inverse to each other, nor do equal volumes give the identity.
"""

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mics.deformation.field import compose, downsample, exponentiate, resize, resize_displacement, warp
from mics.deformation.inverse import swap_directions
from mics.network.blocks import pad_to_multiple, to_channels_last
from mics.network.config import Channels, RegistrationConfig
from mics.network.pair import Prediction, RegistrationNetwork, Step
from mics.network.velocity import derivatives

LEVELS = 3
_SHARES = (0.25, 0.5)
"""Of the training, after which the second and the third level begin: 30,000, 30,000 and 60,000 iterations."""
_FROZEN = 2_000 / 120_000
"""For how long after that the levels before stay as they are, likewise."""
_REACH = 0.4
"""Largest velocity that a level adds, in halves of the volume's extent."""
_SQUARINGS = 7
_SLOPE = 0.2
"""Of the leaky ReLU."""


class LapIRNConfig(RegistrationConfig):
    """Settings of :class:`LapIRN`."""

    staged: ClassVar[bool] = True
    limits: ClassVar[str | None] = (
        "Not symmetric: the other direction is predicted anew with the scans exchanged, and neither are the two inverse to each "
        "other, nor do equal scans give the identity. For comparison."
    )
    kind: Literal["lapirn"] = "lapirn"
    channels: Channels = 28
    """Of every layer."""
    blocks: int = Field(5, ge=1, le=20)
    """Residual blocks of a level."""
    in_channels: Channels = 3
    """One per HU window."""

    @property
    def divisor(self) -> int:
        """Extents that every level can halve, the coarsest once more within itself."""
        return int(2**LEVELS)

    @property
    def features_per_voxel(self) -> float:
        """Features of the finest level."""
        return float(self.channels)


class LapIRN(RegistrationNetwork):
    """Three levels, at a quarter, a half and the whole of the resolution.

    A level sees the moving volume as the coarser ones warp it, the fixed one, and their velocity, and adds to that. In training
    only the levels whose time has come are asked (:meth:`progress`), and the prediction lies on the grid of the finest of them;
    in evaluation always all. Its velocities are shares of the volume's extent: train it on whole volumes.

    References:
        Mok, Chung 2020, "Large deformation diffeomorphic image registration with Laplacian pyramid networks", MICCAI.
    """

    config: LapIRNConfig

    def __init__(self, config: LapIRNConfig) -> None:
        super().__init__(config)
        volumes = 2 * (config.in_channels + (config.organs if config.organ_maps else 0))
        inputs = [volumes] + [volumes + 3] * (LEVELS - 1)
        self.levels = nn.ModuleList(PyramidLevel(count, config.channels, config.blocks) for count in inputs)
        self.asked = LEVELS

    def progress(self, share: float) -> None:
        """Coarse to fine: a level joins when its time has come, and those before it rest at first.

        Args:
            share: Of the training that is done, in [0, 1).
        """
        begun = [0.0, *(begin for begin in _SHARES if begin <= share)]
        self.asked = len(begun)
        rests = len(begun) > 1 and share < begun[-1] + _FROZEN
        for number, level in enumerate(self.levels):
            level.requires_grad_(number == self.asked - 1 or (number < self.asked and not rests))

    def forward(self, a: Tensor, b: Tensor, *, steps: int = 2) -> Prediction:
        """Register ``a`` and ``b``, the windows ``(B, 3, X, Y, Z)`` in [0, 1] (see :meth:`network_input`).

        The authors' network does it in one step; another one registers again what is left.
        """
        originals = pad_to_multiple(torch.cat([a, b]), self.config.divisor)
        moving, targets = originals, swap_directions(originals)
        results: list[Step] = []
        for _ in range(steps):
            total = results[-1].displacement.flatten(0, 1) if results else None
            if total is not None:
                moving = warp(originals, resize_displacement(total, originals.shape[2:]))
            velocity = self._velocity(moving, targets)
            displacement = exponentiate(velocity, squarings=_SQUARINGS)
            if total is not None:
                displacement = compose(displacement, total)
            gradients = 1 + derivatives(velocity)
            results.append(Step(gradients.unflatten(0, (2, -1)), displacement.unflatten(0, (2, -1))))
        return Prediction(tuple(results), tuple(originals.shape[2:]), tuple(a.shape[2:]))

    def _velocity(self, moving: Tensor, targets: Tensor) -> Tensor:
        """:meth:`_coarse_to_fine`; in inference one direction after the other, because features take much memory."""
        if torch.is_grad_enabled():
            return self._coarse_to_fine(moving, targets)
        return torch.cat([self._coarse_to_fine(*pair) for pair in zip(moving.split(1), targets.split(1), strict=True)])

    def _coarse_to_fine(self, moving: Tensor, target: Tensor) -> Tensor:
        """The velocity ``(N, 3, X, Y, Z)`` of the finest level that is asked, in voxels of its grid."""
        velocity: Tensor | None = None
        embedding: Tensor | None = None
        for number in range(self.asked if self.training else LEVELS):
            shape = [extent >> (LEVELS - 1 - number) for extent in moving.shape[2:]]
            source, fixed = downsample(moving, shape), downsample(target, shape)
            given = [source, fixed]
            if velocity is not None:
                velocity = resize(velocity, shape)
                given = [warp(source, exponentiate(_in_voxels(velocity), squarings=_SQUARINGS)), fixed, velocity]
            added, embedding = self.levels[number](torch.cat(given, dim=1), embedding)
            velocity = added if velocity is None else velocity + added
        assert velocity is not None
        return _in_voxels(velocity)


class PyramidLevel(nn.Module):
    """One level: two convolutions, residual blocks at half of the resolution, and up again, with a skip connection.

    Args:
        in_channels: Of the volumes, and of the velocity so far where there is one.
        channels: Of every layer.
        blocks: How many residual blocks.
    """

    def __init__(self, in_channels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.encoder = _two_convolutions(in_channels, channels, channels)
        self.down = nn.Conv3d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)), nn.LeakyReLU(_SLOPE))
        self.up = nn.ConvTranspose3d(channels, channels, 2, stride=2, bias=False)
        self.head = _two_convolutions(2 * channels, channels, 3)
        *_, last = self.head.parameters()
        nn.init.normal_(last, std=1e-3)

    def forward(self, volumes: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """The velocity that it adds, and what it hands to the next finer level.

        Args:
            volumes: ``(N, in_channels, X, Y, Z)``.
            embedding: Of the coarser level, ``(N, channels, X / 2, Y / 2, Z / 2)``; None for the coarsest.

        Returns:
            The velocity ``(N, 3, X, Y, Z)`` in halves of the extent, and the embedding ``(N, channels, X, Y, Z)``.
        """
        features = self.encoder(to_channels_last(volumes))
        deeper = self.down(features)
        deeper = self.up(self.blocks(deeper if embedding is None else deeper + embedding))
        logits = self.head(torch.cat([deeper, features], dim=1)).float()
        return _REACH * nn.functional.softsign(logits), deeper


class ResidualBlock(nn.Module):
    """Activation before each of two convolutions, and what comes in added (He et al. 2016).

    Args:
        channels: In and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LeakyReLU(_SLOPE), *_two_convolutions(channels, channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """``(N, channels, X, Y, Z)`` to the same."""
        changed: Tensor = self.layers(features)
        return features + changed


def _two_convolutions(*channels: int) -> nn.Sequential:
    """3³ convolutions without bias, and an activation between them."""
    first, second = (nn.Conv3d(*pair, 3, padding=1, bias=False) for pair in pairwise(channels))
    return nn.Sequential(first, nn.LeakyReLU(_SLOPE), second)


def _in_voxels(velocity: Tensor) -> Tensor:
    """From halves of the extent to voxels."""
    halves = [(extent - 1) / 2 for extent in velocity.shape[2:]]
    return velocity * torch.tensor(halves, device=velocity.device).view(1, 3, 1, 1, 1)
