"""Named configurations of the networks."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mics.deformation.field import Anchor
from mics.errors import InputError

Channels = Annotated[int, Field(ge=1, le=1024)]


class NetworkConfig(BaseModel):
    """Shape of a U-Net. ``task`` tells which network it builds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["registration", "segmentation"]
    channels: tuple[Channels, ...] = Field(min_length=2, max_length=8)
    """Channels per level, finest first."""
    stride: Literal[1, 2] = 1
    """Resolution of the input over that of the finest level, on which fields and organ maps are predicted."""
    in_channels: Channels = 3
    """One per HU window."""
    decoder_normalisation: bool = True
    """Instance normalisation in the decoder, the paper's form; without it small differences give small fields."""
    anchor: Anchor = "line_mean"
    """Anchor of the integration of predicted gradients, see :func:`mics.deformation.field.integrate`."""
    velocity_levels: int = Field(0, ge=0)
    """How many levels of a registration network, from the finest, predict a velocity; 0: gradients, as in the paper."""
    library: Literal["mics", "monai"] = "mics"
    """Who builds a segmentation network: this package, or MONAI (its ``DynUNet``)."""
    fine_channels: int = Field(0, ge=0, le=1024)
    """Channels of a segmentation network's last level, at the resolution of the input; 0 for none."""
    organs: Channels = 13
    """Organs a segmentation network tells apart, besides the background."""
    organ_maps: bool = False
    """Whether a registration network sees the soft maps of so many organs beside the windows."""

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if self.velocity_levels > len(self.channels):
            raise ValueError(f"velocity_levels is {self.velocity_levels}, of {len(self.channels)} levels")
        return self

    @property
    def divisor(self) -> int:
        """Extents of the input are multiples of this; others are padded."""
        return int(self.stride * 2 ** (len(self.channels) - 1))


PRESETS: dict[str, NetworkConfig] = {
    # Estienne et al., section 4.1: four blocks of 64, 128, 256, 512 channels, about 20 million parameters.
    "paper": NetworkConfig(task="registration", channels=(64, 128, 256, 512)),
    # What two cores can train: at 8 mm it predicts gradients every 16 mm.
    "small": NetworkConfig(task="registration", channels=(32, 64, 128), stride=2, decoder_normalisation=False),
    # The same, with the segmentation network's soft organ maps beside the windows.
    "small-organs": NetworkConfig(
        task="registration", channels=(32, 64, 128), stride=2, decoder_normalisation=False, organ_maps=True
    ),
    # Inverse consistent by construction and coarse to fine: it predicts velocities at 8, 16, 32 and 64 mm.
    "velocity": NetworkConfig(
        task="registration",
        channels=(32, 64, 128, 128),
        decoder_normalisation=False,
        organ_maps=True,
        velocity_levels=4,
    ),
    # The same from 16 mm on, as small-organs.
    "velocity-small": NetworkConfig(
        task="registration",
        channels=(32, 64, 128),
        stride=2,
        decoder_normalisation=False,
        organ_maps=True,
        velocity_levels=3,
    ),
    # Section 3.4: Çiçek et al.'s U-Net with leaky ReLU and instance normalisation; all organs but the adrenal glands.
    "organs-paper": NetworkConfig(task="segmentation", channels=(64, 128, 256, 512), library="monai", organs=11),
    "organs-coarse": NetworkConfig(task="segmentation", channels=(32, 64, 128, 192), stride=2),
    "organs-small": NetworkConfig(task="segmentation", channels=(32, 64, 128, 192), stride=2, fine_channels=16),
}


def preset(name: str) -> NetworkConfig:
    """The configuration of that name; raises :class:`InputError` naming the known ones."""
    if name not in PRESETS:
        raise InputError(f"No network preset is called {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
