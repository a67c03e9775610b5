"""Organ segmentation networks (MICS, section 3.4): on the same blocks as the registration network, or MONAI's U-Net."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mics.deformation.field import resize
from mics.errors import SettingError
from mics.network.blocks import ConvBlock, Decoder, Encoder, Merge, pad_to_multiple, to_channels_last
from mics.network.config import SegmentationConfig, StridedUNetConfig, UNetConfig
from mics.network.sliding import sliding_windows


class Segmentation(nn.Module, ABC):
    """Scores of the background and the organs for every voxel; made from its ``config`` alone, so that a card can say how."""

    config: SegmentationConfig

    def __init__(self, config: SegmentationConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, windows: Tensor) -> Tensor:
        """The scores of a volume.

        Args:
            windows: HU windows ``(B, 3, X, Y, Z)`` in [0, 1].

        Returns:
            Logits ``(B, 1 + organs, X, Y, Z)``, background first, float32.
        """

    def probabilities(self, windows: Tensor, crop: Sequence[int] | None = None) -> Tensor:
        """Probabilities of the background and the organs.

        Args:
            windows: HU windows ``(B, 3, X, Y, Z)`` in [0, 1].
            crop: That of the training, in voxels; None for whole volumes.

        Returns:
            ``(B, 1 + organs, X, Y, Z)`` in [0, 1], their sum 1.
        """
        return sliding_windows(lambda part: functional.softmax(self(part), dim=1), windows, crop)

    def organ_maps(self, windows: Tensor, crop: Sequence[int] | None = None) -> Tensor:
        """Soft maps of the organs, the background left out.

        Args:
            windows: As of :meth:`probabilities`.
            crop: As of :meth:`probabilities`.

        Returns:
            ``(B, organs, X, Y, Z)`` in [0, 1].
        """
        return self.probabilities(windows, crop)[:, 1:]


class MonaiSegmentationConfig(UNetConfig, SegmentationConfig):
    """Settings of :class:`MonaiSegmentation`."""

    kind: Literal["monai"] = "monai"


class MonaiSegmentation(Segmentation):
    """MONAI's ``DynUNet``: leaky ReLU, instance normalisation, up- and down-sampling by strided convolutions."""

    config: MonaiSegmentationConfig

    def __init__(self, config: MonaiSegmentationConfig) -> None:
        super().__init__(config)
        try:
            from monai.networks.nets import DynUNet
        except ModuleNotFoundError as error:
            raise SettingError("This segmentation network is MONAI's: install mics-registration[train].") from error
        levels = len(config.channels)
        strides = [1, *[2] * (levels - 1)]
        self.unet = DynUNet(
            3, config.in_channels, config.organs + 1, [3] * levels, strides, strides[1:], filters=config.channels
        )

    def forward(self, windows: Tensor) -> Tensor:
        """HU windows ``(B, 3, X, Y, Z)`` to logits ``(B, 1 + organs, X, Y, Z)``, float32."""
        logits: Tensor = self.unet(pad_to_multiple(windows, self.config.divisor)).float()
        x, y, z = windows.shape[2:]
        return logits[..., :x, :y, :z]


class OrganSegmentationConfig(StridedUNetConfig, SegmentationConfig):
    """Settings of :class:`OrganSegmentation`."""

    kind: Literal["organs"] = "organs"
    fine_channels: int = Field(0, ge=0, le=1024)
    """Channels of the last level, at the resolution of the input; 0 for none."""

    @property
    def features_per_voxel(self) -> float:
        """Features of the level that has the most."""
        return max(super().features_per_voxel, float(self.fine_channels))


class OrganSegmentation(Segmentation):
    """A U-Net of the registration network's blocks.

    With ``fine_channels``, a level at the input's resolution corrects the scores of the U-Net beneath it. It starts at no
    correction, so that the weights of a network without it are a good start for one with it.
    """

    config: OrganSegmentationConfig

    def __init__(self, config: OrganSegmentationConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.in_channels, config.channels, stem_stride=config.stride)
        self.decoder = Decoder(config.channels, normalise=config.decoder_normalisation)
        self.head = nn.Conv3d(config.channels[0], config.organs + 1, 1)
        self.fine = FullResolutionHead(config) if config.fine_channels else None

    def forward(self, windows: Tensor) -> Tensor:
        """HU windows ``(B, 3, X, Y, Z)`` to logits ``(B, 1 + organs, X, Y, Z)``, float32."""
        padded = pad_to_multiple(windows, self.config.divisor)
        decoded = self.decoder(self.encoder(padded))[0]
        logits = resize(self.head(decoded).float(), padded.shape[2:])
        if self.fine is not None:
            logits = logits + self.fine(padded, decoded).float()
        x, y, z = windows.shape[2:]
        return logits[..., :x, :y, :z]


class FullResolutionHead(nn.Module):
    """Corrections of the scores at the resolution of the input."""

    def __init__(self, config: OrganSegmentationConfig) -> None:
        super().__init__()
        channels = config.fine_channels
        self.look = nn.Sequential(ConvBlock(config.in_channels, channels), ConvBlock(channels, channels))
        self.up = nn.ConvTranspose3d(config.channels[0], channels, config.stride, stride=config.stride)
        self.merge = Merge(channels)
        self.head = nn.Conv3d(channels, config.organs + 1, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, windows: Tensor, decoded: Tensor) -> Tensor:
        """Windows ``(B, 3, X, Y, Z)`` and the U-Net's features to what is added to its scores."""
        features = self.merge(torch.cat([self.up(decoded), self.look(to_channels_last(windows))], dim=1))
        correction: Tensor = self.head(features)
        return correction
