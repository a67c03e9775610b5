"""Networks by name: the settings of the paper's and of smaller ones."""

from mics.errors import SettingError
from mics.network.config import NetworkConfig
from mics.network.lapirn import LapIRNConfig
from mics.network.mics import MICSConfig
from mics.network.segmentation import MonaiSegmentationConfig, OrganSegmentationConfig
from mics.network.velocity import VelocityConfig
from mics.registry import Registry

PRESETS: Registry[NetworkConfig] = Registry(
    "network preset",
    {
        # Estienne et al., section 3.2: four blocks of 64, 128, 256, 512 channels, about 20 million parameters. Φ is the
        # cumulative sum of its derivatives (section 3.1), from the first voxel on, and nothing beside.
        "paper": MICSConfig(channels=(64, 128, 256, 512), anchor="first_voxel"),
        # The other reading: 32 channels at the full resolution, then four blocks that each begin with a down-sampling.
        "paper-stem": MICSConfig(channels=(32, 64, 128, 256, 512), anchor="first_voxel"),
        # As paper, with lines of a mean of their own, which a head predicts: it can move a volume as a whole.
        "paper-line-mean": MICSConfig(channels=(64, 128, 256, 512)),
        # What two cores can train: at 8 mm it predicts gradients every 16 mm.
        "small": MICSConfig(channels=(32, 64, 128), stride=2, decoder_normalisation=False),
        # The same, with the segmentation network's soft organ maps beside the windows.
        "small-organs": MICSConfig(channels=(32, 64, 128), stride=2, decoder_normalisation=False, organ_maps=True),
        # Inverse consistent by construction and coarse to fine: it predicts velocities at 8, 16, 32 and 64 mm.
        "velocity": VelocityConfig(
            channels=(32, 64, 128, 128), decoder_normalisation=False, organ_maps=True, velocity_levels=4
        ),
        # The same from 16 mm on, as small-organs.
        "velocity-small": VelocityConfig(
            channels=(32, 64, 128), stride=2, decoder_normalisation=False, organ_maps=True, velocity_levels=3
        ),
        # Mok and Chung 2020, to compare with: 28 channels, five residual blocks a level, as in the authors' code.
        "lapirn": LapIRNConfig(),
        # Section 3.4: Çiçek et al.'s U-Net with leaky ReLU and instance normalisation; all organs but the adrenal glands.
        "organs-paper": MonaiSegmentationConfig(channels=(64, 128, 256, 512), organs=11),
        "organs-coarse": OrganSegmentationConfig(channels=(32, 64, 128, 192), stride=2),
        "organs-small": OrganSegmentationConfig(channels=(32, 64, 128, 192), stride=2, fine_channels=16),
    },
)
"""By the name that a recipe's ``preset`` gives."""


def preset(name: str) -> NetworkConfig:
    """The configuration of that name; raises :class:`InputError` naming the known ones."""
    if name not in PRESETS:
        raise SettingError(f"No network preset is called {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
