"""What a network is built from: settings that a preset names and a model's card keeps."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Channels = Annotated[int, Field(ge=1, le=1024)]


class NetworkConfig(BaseModel, ABC):
    """Settings of a network; ``kind`` says of which (:data:`mics.network.kinds.NETWORKS`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: ClassVar[Literal["registration", "segmentation"]]
    limits: ClassVar[str | None] = None
    """What the card of every model of this kind warns of."""

    kind: str
    organs: Channels = 13
    """How many organs it tells apart, or sees maps of."""

    @property
    def divisor(self) -> int:
        """Extents of the input are multiples of this; others are padded."""
        return 1

    @property
    @abstractmethod
    def features_per_voxel(self) -> float:
        """Numbers that its largest level of features holds for each voxel of the input; the check of memory needs it."""


class RegistrationConfig(NetworkConfig):
    """Settings of a network that takes two volumes and gives both displacements."""

    task = "registration"

    inverse_by_construction: ClassVar[bool] = False
    """Whether the two directions are inverse to each other up to interpolation."""
    flip_averaging: ClassVar[bool] = False
    """Whether it can average its prediction over the pair and its mirror image."""
    staged: ClassVar[bool] = False
    """Whether its parts are trained one after the other, each in its share of the run."""

    organ_maps: bool = False
    """Whether it sees the soft maps of the organs beside the windows."""


class SegmentationConfig(NetworkConfig):
    """Settings of a network that takes one volume and gives soft maps of its organs."""

    task = "segmentation"


class UNetConfig(NetworkConfig):
    """Shape of a U-Net."""

    channels: tuple[Channels, ...] = Field(min_length=2, max_length=8)
    """Channels per level, finest first."""
    in_channels: Channels = 3
    """One per HU window."""

    @property
    def divisor(self) -> int:
        """Extents that every level can halve."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def features_per_voxel(self) -> float:
        """Features of the finest level."""
        return float(self.channels[0])


class StridedUNetConfig(UNetConfig):
    """Shape of a U-Net of this package's blocks."""

    stride: Literal[1, 2] = 1
    """Resolution of the input over that of the finest level, on which fields and organ maps are predicted."""
    decoder_normalisation: bool = True
    """Instance normalisation in the decoder, the paper's form; without it small differences give small fields."""

    @property
    def divisor(self) -> int:
        """Extents that the stem and every level can divide."""
        return int(self.stride * 2 ** (len(self.channels) - 1))

    @property
    def features_per_voxel(self) -> float:
        """Features of the finest level, which may have fewer voxels than the input."""
        return float(self.channels[0] / self.stride**3)
