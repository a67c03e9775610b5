"""The organ segmentation network: a 3D U-Net on the same blocks as the registration network (MICS, section 3.4)."""

from torch import Tensor, nn
from torch.nn import functional

from mics.deformation.field import resize
from mics.network.blocks import Decoder, Encoder
from mics.network.padding import pad_to_multiple
from mics.network.presets import NetworkConfig


class OrganSegmentation(nn.Module):
    """Scores of the background and the organs for every voxel."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.in_channels, config.channels, stem_stride=config.stride)
        self.decoder = Decoder(config.channels, normalise=config.decoder_normalisation)
        self.head = nn.Conv3d(config.channels[0], config.organs + 1, 1)

    def forward(self, windows: Tensor) -> Tensor:
        """HU windows ``(B, 3, X, Y, Z)`` to logits ``(B, 1 + organs, X, Y, Z)``, float32."""
        padded = pad_to_multiple(windows, self.config.divisor)
        logits = self.head(self.decoder(self.encoder(padded))[0]).float()
        x, y, z = windows.shape[2:]
        return resize(logits, padded.shape[2:])[..., :x, :y, :z]

    def organ_maps(self, windows: Tensor) -> Tensor:
        """Soft maps of the organs ``(B, organs, X, Y, Z)`` in [0, 1], the background left out."""
        return functional.softmax(self(windows), dim=1)[:, 1:]
