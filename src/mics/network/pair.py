"""What every registration network is, in and out, and the encoder and decoder that those of this package share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mics.deformation.field import resize_displacement, warp
from mics.errors import SettingError
from mics.network.blocks import Decoder, Encoder, pad_to_multiple
from mics.network.config import RegistrationConfig, StridedUNetConfig


@dataclass(frozen=True, eq=False)
class Step:
    """What one step predicts, on the field grid (the padded input's extent divided by the stride), voxels of that grid.

    ``gradients`` ``(2, B, C, X, Y, Z)``: derivatives that this step alone adds, plus one, so that 1 is the identity; what Lreg
    penalises. C is 3 where the network predicts those of each coordinate along its own axis, 9 where it predicts a velocity.
    ``displacement`` ``(2, B, 3, X, Y, Z)``: of all steps up to this one, composed. First A→B, then B→A.
    """

    gradients: Tensor
    displacement: Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """Both deformations of a pair after every step."""

    steps: tuple[Step, ...]
    padded_shape: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def displacement_ab(self) -> Tensor:
        """``(B, 3, X, Y, Z)`` in voxels of the input: ``warp(a, displacement_ab)`` looks like b."""
        return self.displacements()[0]

    @property
    def displacement_ba(self) -> Tensor:
        """``(B, 3, X, Y, Z)`` in voxels of the input: ``warp(b, displacement_ba)`` looks like a."""
        return self.displacements()[1]

    def displacements(self, finer: int = 1) -> tuple[Tensor, Tensor]:
        """Both displacements over the input's box, padding left out.

        Args:
            finer: How many times as fine as the input's the grid is, with the same outermost voxel centres; 1 is the input's own.

        Returns:
            A→B and B→A, each ``(B, 3, X', Y', Z')`` float32, in voxels of that grid, of which ``X' = (X - 1) * finer + 1``.
        """
        x, y, z = ((n - 1) * finer + 1 for n in self.shape)
        ab, ba = self.on_grid([(n - 1) * finer + 1 for n in self.padded_shape])[..., :x, :y, :z]
        return ab, ba

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Both displacements over the padded input's box.

        Args:
            shape: Of the grid, with the padded input's outermost voxel centres.

        Returns:
            ``(2, B, 3, *shape)`` float32, A→B first, in voxels of that grid.
        """
        return torch.stack([resize_displacement(direction, shape) for direction in self.steps[-1].displacement])


class RegistrationNetwork(nn.Module, ABC):
    """Two volumes in, both displacements out; made from its ``config`` alone, so that a card can say how."""

    config: RegistrationConfig

    def __init__(self, config: RegistrationConfig) -> None:
        super().__init__()
        self.config = config

    def network_input(self, windows: Tensor, organ_maps: Tensor | None) -> Tensor:
        """Make of a volume what :meth:`forward` takes.

        Args:
            windows: HU windows ``(B, 3, X, Y, Z)`` in [0, 1].
            organ_maps: ``(B, organs, X, Y, Z)`` in [0, 1] on the same grid; None where there are none.

        Returns:
            The windows, and along the channels the organ maps if this network takes them.
        """
        return torch.cat([windows, organ_maps], dim=1) if self.config.organ_maps and organ_maps is not None else windows

    @abstractmethod
    def forward(self, a: Tensor, b: Tensor, *, steps: int = 2) -> Prediction:
        """Register two volumes.

        Args:
            a: As :meth:`network_input` returns it, ``(B, channels, X, Y, Z)``.
            b: The other one, on the same grid.
            steps: How often what is left is predicted.

        Returns:
            Both deformations after every step.
        """

    def progress(self, share: float) -> None:
        """Called before every iteration of a training with how far it is, if ``config.staged`` says that this network listens.

        Args:
            share: Of the training that is done, in [0, 1).
        """

    def flip_averaged(self, a: Tensor, b: Tensor, *, steps: int = 2) -> Prediction:
        """:meth:`forward`, averaged over the pair and its mirror image, where ``config.flip_averaging`` says that it can.

        Args:
            a: As of :meth:`forward`.
            b: As of :meth:`forward`.
            steps: As of :meth:`forward`.

        Returns:
            Both deformations after every step.

        Raises:
            InputError: Where the network's class does not do it.
        """
        name = type(self).__name__
        raise SettingError(
            f"{name} does not average over mirror images: give it flip_averaged, or say so in its config."
        )


class RegistrationUNetConfig(StridedUNetConfig, RegistrationConfig):
    """Settings of a :class:`RegistrationUNet`."""


class RegistrationUNet(RegistrationNetwork):
    """One encoder and one decoder for both directions; features merged by subtraction at every level.

    The decoder has no bias, so that equal volumes give a zero difference and exactly the identity, for any weights.
    :meth:`forward` is symmetric by construction: swapping the volumes swaps the deformations.
    """

    config: RegistrationUNetConfig

    def __init__(self, config: RegistrationUNetConfig) -> None:
        super().__init__(config)
        inputs = config.in_channels + (config.organs if config.organ_maps else 0)
        self.encoder = Encoder(inputs, config.channels, stem_stride=config.stride)
        self.decoder = Decoder(config.channels, normalise=config.decoder_normalisation)

    def padded(self, a: Tensor, b: Tensor) -> Tensor:
        """Both volumes in extents that the levels divide.

        Args:
            a: ``(B, channels, X, Y, Z)``.
            b: Likewise.

        Returns:
            ``(2 * B, channels, X', Y', Z')``, A first.
        """
        return pad_to_multiple(torch.cat([a, b]), self.config.divisor)

    def encode(self, volumes: Tensor, displacement: Tensor | None) -> list[Tensor]:
        """Features of volumes.

        Args:
            volumes: ``(N, channels, X, Y, Z)`` of the :meth:`padded` ones.
            displacement: ``(N, 3, …)`` on the field grid, in its voxels, by which they are warped before; None leaves them.

        Returns:
            A tensor a level, finest first.
        """
        if displacement is not None:
            volumes = warp(volumes, resize_displacement(displacement, volumes.shape[2:]))
        features: list[Tensor] = self.encoder(volumes)
        return features


def initial_displacement(steps: int, volumes: Tensor) -> Tensor | None:
    """The displacement for :meth:`RegistrationUNet.encode` before the first of so many steps: zero, None for a single one.

    Volumes are sampled even where they stay, because later steps sample too: sampling rounds, the normalisation would amplify
    that difference, and equal volumes would drift apart from the second step on.

    Args:
        steps: That are to come.
        volumes: ``(N, channels, X, Y, Z)``.

    Returns:
        ``(N, 3, X, Y, Z)``, or None.
    """
    return torch.zeros_like(volumes[:, :3]) if steps > 1 else None
