"""What a fusion of labels may be asked for by name."""

from typing import Literal

FusionName = Literal["majority", "local", "joint"]
"""A name of :data:`mics.atlas.fusion.FUSIONS`."""
