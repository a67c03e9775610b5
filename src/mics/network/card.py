"""What the card of a model says: what the network is, what it was trained on, and how it is to be used."""

import json
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mics.errors import first_problem
from mics.network.config import NetworkConfig, RegistrationConfig
from mics.network.kinds import NETWORKS, unknown_kind

MAX_STEPS = 100
"""Of a registration network, in training and ever after: no pair needs more than a few."""

Extent = Annotated[int, Field(ge=1, le=10_000)]

_OF_ALL_KINDS = {"task", "stride", "decoder_normalisation", "anchor", "velocity_levels", "library", "fine_channels"}
_OF_ALL_KINDS |= {"organ_maps"}
"""Settings that older cards list for every network, whether they mean something for it or not."""


class CardAugmentation(BaseModel):
    """What older cards say of the augmentation that bears on the use of the model."""

    model_config = ConfigDict(extra="allow")

    mirror_probability: float = 0.0


class CardRecipe(BaseModel):
    """The training recipe in a card, with what older cards say nowhere else."""

    model_config = ConfigDict(extra="allow")

    augmentation: CardAugmentation = CardAugmentation()
    organs_model: str | None = None


def network_config(settings: Any) -> NetworkConfig:
    """The settings of a network as a card has them, those of older cards too. Raises pydantic's error for others."""
    if isinstance(settings, NetworkConfig):
        return settings
    settings = _with_kind(settings)
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise PydanticCustomError("network_kind", "{message}", {"message": unknown_kind(kind)})
    try:
        return NETWORKS[kind].config.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        raise PydanticCustomError("network_settings", "{first}", {"first": first_problem(error)}) from error


def _with_kind(settings: Any) -> Any:
    """The settings of an older card, as those of the kind of network that it describes."""
    if not isinstance(settings, dict) or "kind" in settings:
        return settings
    if settings.get("task") == "registration":
        kind = "velocity" if settings.get("velocity_levels") else "mics"
    elif settings.get("task") == "segmentation":
        kind = "monai" if settings.get("library") == "monai" else "organs"
    else:
        return settings
    without = _OF_ALL_KINDS - NETWORKS[kind].config.model_fields.keys()
    return {"kind": kind, **{name: value for name, value in settings.items() if name not in without}}


class ModelCard(BaseModel):
    """A model's JSON file. It may say more than this, such as ``command``; that is kept.

    What older cards do not say themselves is taken from the recipe in them.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    network: Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(network_config)]
    sha256: str
    """SHA-256 of the file of weights."""
    spacing_mm: float = Field(gt=0, le=100)
    """Voxel edge of the volumes that the network was trained on."""
    hu_range: tuple[float, float] | None
    """Range that HU are clipped to before windowing, if any."""
    crop: tuple[Extent, Extent, Extent] | None = None
    """Extent of the crops that the network was trained on, in its voxels; None for whole volumes."""
    steps: int = Field(1, ge=1, le=MAX_STEPS)
    """Registration steps by default."""
    recipe: CardRecipe = CardRecipe()
    """Settings of the training."""
    trained_with_flips: bool = Field(default=None, validate_default=True)
    """Whether it was trained on mirrored volumes too."""
    organs_model: str | None = Field(default=None, validate_default=True)
    """Segmentation model whose organ maps the network was trained with, if it sees any; None for the default one."""
    title: str | None = None
    """Purpose of the model, in words."""
    training_data: str | None = None
    validation: str | None = None
    """Results of the validation: what was measured, on which subjects, and how."""
    limits: str | None = None
    licence: str | None = None
    """Licence of the weights."""

    @field_validator("trained_with_flips", mode="before")
    @classmethod
    def _flips_of_the_recipe(cls, value: Any, info: ValidationInfo) -> Any:
        recipe = info.data.get("recipe")
        return recipe.augmentation.mirror_probability > 0 if value is None and recipe is not None else value

    @field_validator("organs_model", mode="before")
    @classmethod
    def _organs_of_the_recipe(cls, value: Any, info: ValidationInfo) -> Any:
        recipe = info.data.get("recipe")
        return recipe.organs_model if value is None and recipe is not None else value

    @property
    def inverse_by_construction(self) -> bool:
        """Whether the two directions of a registration network are inverse to each other up to interpolation."""
        return isinstance(self.network, RegistrationConfig) and self.network.inverse_by_construction

    @property
    def sees_organ_maps(self) -> bool:
        """Whether a registration network takes the organs' soft maps beside the windows."""
        return isinstance(self.network, RegistrationConfig) and self.network.organ_maps

    @property
    def averages_flips(self) -> bool:
        """Whether a prediction is averaged over the pair and its mirror image: it can be, and the network knows such images."""
        flips = isinstance(self.network, RegistrationConfig) and self.network.flip_averaging
        return flips and self.trained_with_flips
