"""The kinds of network, each its settings and its class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mics.errors import InputError
from mics.network.config import NetworkConfig
from mics.network.lapirn import LapIRN, LapIRNConfig
from mics.network.mics import MICS, MICSConfig
from mics.network.pair import RegistrationNetwork
from mics.network.segmentation import (
    MonaiSegmentation,
    MonaiSegmentationConfig,
    OrganSegmentation,
    OrganSegmentationConfig,
    Segmentation,
)
from mics.network.velocity import VelocityConfig, VelocityMICS
from mics.registry import Registry

Network = RegistrationNetwork | Segmentation


@dataclass(frozen=True)
class Kind:
    """The class of a network's settings, and that of the network, which is made from them alone."""

    config: type[NetworkConfig]
    network: Callable[[Any], Network]


NETWORKS: Registry[Kind] = Registry(
    "kind of network",
    {
        "mics": Kind(MICSConfig, MICS),
        "velocity": Kind(VelocityConfig, VelocityMICS),
        "lapirn": Kind(LapIRNConfig, LapIRN),
        "organs": Kind(OrganSegmentationConfig, OrganSegmentation),
        "monai": Kind(MonaiSegmentationConfig, MonaiSegmentation),
    },
)
"""By the ``kind`` of their settings, as a model's card says it."""


def build(config: NetworkConfig) -> Network:
    """The network of these settings, with random weights. Raises :class:`InputError` for a kind that is not registered."""
    if config.kind not in NETWORKS:
        raise InputError(unknown_kind(config.kind))
    return NETWORKS[config.kind].network(config)


def unknown_kind(kind: object) -> str:
    """The sentence on a kind of network that is not registered."""
    return f"there is no network of the kind {kind!r}, only {', '.join(NETWORKS)}; import or install what adds it"
