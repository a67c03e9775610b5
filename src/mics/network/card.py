"""What the card of a model must say, and within which bounds; it may say more."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mics.network.presets import NetworkConfig

MOST_STEPS = 100
"""Of a registration network, in training and ever after: no pair needs more than a few."""

Extent = Annotated[int, Field(ge=1, le=10_000)]


class CardAugmentation(BaseModel):
    """What is asked of the augmentation in :class:`CardRecipe`."""

    mirror_probability: float = 0.0


class CardRecipe(BaseModel):
    """What is asked of the training recipe in a card."""

    augmentation: CardAugmentation = CardAugmentation()
    organs_model: str = ""


class Card(BaseModel):
    """A model's JSON file."""

    model_config = ConfigDict(allow_inf_nan=False)

    network: NetworkConfig
    sha256: str
    spacing_mm: float = Field(gt=0, le=100)
    hu_range: tuple[float, float] | None
    crop: tuple[Extent, Extent, Extent] | None = None
    steps: int = Field(1, ge=1, le=MOST_STEPS)
    recipe: CardRecipe = CardRecipe()
