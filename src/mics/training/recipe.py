"""What a training run is: a YAML file, checked on load."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from mics.data.settings_file import FileSettings, parse_yaml, read_yaml
from mics.errors import InputError, MissingFileError, SettingError
from mics.losses.total import PAPER_WEIGHTS, LossForms, LossWeights
from mics.network.card import MAX_STEPS, Extent
from mics.network.config import RegistrationConfig
from mics.network.precision import half_precision_pays
from mics.network.presets import preset
from mics.network.weights import DEFAULT_SEGMENTATION
from mics.organs import ORGAN_NAMES

BUNDLED_RECIPES = Path(__file__).parent / "recipes"


Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Augmentation(FileSettings):
    """Random changes of a case; all zero means none, as in the paper. Lengths in voxels of the network's grid."""

    probability: float = Field(0.0, ge=0, le=1)
    """Probability of deforming a case and changing its intensity."""
    mirror_probability: float = Field(0.0, ge=0, le=1)
    """Probability of mirroring a case, or both members of a pair together, left to right; labels stay with their anatomy."""
    mirror_one_probability: float = Field(0.0, ge=0, le=1)
    """Probability of mirroring a case, or one member of a pair, left to right, with its left and right labels swapped."""
    rotation_degrees: float = Field(0.0, ge=0)
    scale: float = Field(0.0, ge=0)
    shift: float = Field(0.0, ge=0)
    elastic: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    brightness: float = Field(0.0, ge=0)
    noise: float = Field(0.0, ge=0)
    phases: float = Field(0.0, ge=0, le=1)
    """Probability of another contrast phase (:mod:`mics.training.phases`); of cases without organ maps, which belong to one."""
    thick_slices: float = Field(0.0, ge=0, le=1)
    """Probability of slices up to three times as thick as the voxels."""
    kernel: float = Field(0.0, ge=0, le=1)
    """Probability of a sharper or smoother kernel."""
    dose_noise: float = Field(0.0, ge=0)
    """HU at the lowest dose, a hundredth of the highest, in a slice of mean thickness; thicker ones have more."""
    field_of_view: float = Field(0.0, ge=0, le=1)
    """Probability of a narrower and shorter field of view (:mod:`mics.training.acquisition`)."""


class Recipe(FileSettings):
    """Every setting of a run; unknown keys are refused."""

    task: Literal["registration", "segmentation"]
    preset: str
    spacing_mm: float = Field(2.0, gt=0, le=100)
    """Voxel edge of the volumes that the network gets; cases on the 2 mm challenge grid are averaged down to it."""
    hu_range: tuple[float, float] | None = None
    """HU are clipped to this range before windowing, in training and ever after."""
    seed: int = Field(0, ge=0, lt=2**32)
    epochs: Count
    stop_after_epochs: Count | None = None
    """Stop earlier, with the schedule of the whole run, which a resumed run goes on with."""
    iterations_per_epoch: Count
    validate_every: Count = 1
    """Validate after every so many epochs, and after the last; the best of those is kept."""
    batch_size: int = Field(1, ge=1, le=1024)
    accumulate: Count = 1
    """Iterations whose gradients are averaged into one step of the optimiser."""
    learning_rate: float = Field(1e-4, gt=0, le=1000)
    decay: bool = False
    """Cosine decay of the learning rate to a hundredth over the run; the paper keeps it constant."""
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute_activations: bool = False
    """Keep fewer activations for the backward pass and compute them again: less memory, a third more time."""
    crop: tuple[Extent, Extent, Extent] | None = None
    """Random crops of this many voxels in training; whole volumes without it."""
    workers: int = Field(0, ge=0, le=256)
    """Processes that read training cases ahead of the device; the samples are the same for any number."""
    steps: int = Field(2, ge=1, le=MAX_STEPS)
    """Registration steps in training."""
    organs_model: str = DEFAULT_SEGMENTATION
    """Segmentation model that finds the organ maps of a registration network that sees them, in training and ever after."""
    phase_variants: int = Field(0, ge=0, le=100)
    """So many random contrast phases of each training scan are prepared beside it, for a network that sees organ maps: each has
    those that the segmentation model finds in it."""
    supervised_organs: tuple[Annotated[int, Field(ge=1, le=len(ORGAN_NAMES))], ...] | None = None
    """Ids of the organs whose labels train the network, as far as a case has them; all without it, ``[]``: none."""
    losses: LossWeights = Field(default_factory=PAPER_WEIGHTS.copy)
    """Weights of registration's losses, by their names."""
    loss_forms: LossForms = Field({})
    """Their norms and units, by their names (:data:`mics.losses.total.FORMS`); that of ``segmentation`` is the segmentation
    network's Dice too."""
    cross_entropy: float = Field(1.0, ge=0)
    """Weight of the class-weighted cross-entropy beside the Dice loss of a segmentation; the paper has none."""
    augmentation: Augmentation = Augmentation()

    @field_validator("hu_range")
    @classmethod
    def _require_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        """Clipped to the reverse, or to a point, every volume would be constant."""
        if value is not None and value[0] >= value[1]:
            raise PydanticCustomError("range", "Input should be a lower and a higher value")
        return value

    @property
    def organ_maps(self) -> str | None:
        """:attr:`organs_model` where the network sees organ maps."""
        network = preset(self.preset)
        return self.organs_model if isinstance(network, RegistrationConfig) and network.organ_maps else None

    @property
    def staged(self) -> bool:
        """Whether the network's parts are trained one after the other, each in its share of the run."""
        network = preset(self.preset)
        return isinstance(network, RegistrationConfig) and network.staged


def load_recipe(name_or_path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """A recipe as it is to be trained.

    ``precision: auto`` becomes bfloat16 where this machine is faster with it, else float32.

    Args:
        name_or_path: A shipped recipe by name, or a YAML file.
        overrides: Values in place of the file's, each ``key=value`` with dots into sections; a value is read as YAML.

    Returns:
        The recipe, checked.

    Raises:
        InputError: For a file that is not there or is no YAML mapping, an unknown key (with the nearest known one), a bad value,
            and a preset that is not for the task.

    Example:
        >>> recipe = load_recipe("velocity", ["epochs=3", "losses.jacobian=0.1"])
        >>> recipe.epochs, recipe.losses["jacobian"]
        (3, 0.1)
    """
    path = BUNDLED_RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in BUNDLED_RECIPES.glob("*.yaml")))
        raise MissingFileError(f"There is no recipe {name_or_path}; give a YAML file or one of {known}.")
    settings = read_yaml(path, "a recipe")
    for override in overrides or []:
        _override(settings, override)
    if settings.get("precision") == "auto":
        # Chosen once, so that a run resumes as it began, wherever.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        settings["precision"] = "bfloat16" if half_precision_pays(device) else "float32"
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        raise SettingError(f"{path}: {_explain(error)}") from error
    if preset(recipe.preset).task != recipe.task:
        raise SettingError(f"{path}: preset {recipe.preset} is not for {recipe.task}.")
    return recipe


def changed_recipe(recipe: Recipe, overrides: list[str]) -> Recipe:
    """A recipe with some values replaced.

    Args:
        recipe: The recipe, which stays as it is.
        overrides: Each ``key=value`` with dots into sections; a value is read as YAML.

    Returns:
        The other recipe, checked.

    Raises:
        InputError: For an unknown key (with the nearest known one) or a bad value.
    """
    settings = recipe.model_dump(mode="json")
    for override in overrides:
        _override(settings, override)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise SettingError(f"`overrides`: {_explain(error)}", option="overrides") from error


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise SettingError(f"`overrides` takes key=value, not {override!r}.", option="overrides")
    *sections, last = (part.strip() for part in key.split("."))
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise SettingError(f"`overrides {override}`: {section} is not a section of the recipe.", option="overrides")
    try:
        settings[last] = parse_yaml(value)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            f"`overrides {override[:200]}`: what stands behind = is not YAML.", option="overrides"
        ) from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unknown_loss", "unknown_form"):
        return first["msg"]
    if first["type"] != "extra_forbidden":
        return f"setting {where}: {first['msg']}."
    model = Augmentation if first["loc"][0] == "augmentation" else Recipe
    nearest = difflib.get_close_matches(str(first["loc"][-1]), list(model.model_fields), n=1, cutoff=0.0)[0]
    return f"unknown setting {where}; did you mean {nearest}?"
