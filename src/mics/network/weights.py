"""Trained models: half-precision safetensors beside a card in JSON, checked by SHA-256 on load."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from mics.errors import InputError, MissingFileError, SettingError, first_problem, require_type
from mics.files.paths import as_path, output_path
from mics.files.whole import write_text, write_whole
from mics.network.card import ModelCard
from mics.network.kinds import Network, build
from mics.network.pair import RegistrationNetwork
from mics.network.segmentation import Segmentation

DEFAULT_REGISTRATION = "mics-velocity"
DEFAULT_SEGMENTATION = "organs-small"

BUNDLED_MODELS = Path(str(files("mics.network"))) / "weights"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in evaluation mode with what its card says. Equal to itself alone, as its weights can be changed."""

    network: Network
    name: str
    card: ModelCard

    def __repr__(self) -> str:
        return f"LoadedModel({self.name}, {type(self.network).__name__}, {self.spacing_mm:g} mm)"

    @property
    def sha256(self) -> str:
        """SHA-256 of the file of weights."""
        return self.card.sha256

    @property
    def spacing_mm(self) -> float:
        """Voxel edge of the volumes that the network was trained on."""
        return self.card.spacing_mm

    @property
    def hu_range(self) -> tuple[float, float] | None:
        """Range that HU are clipped to before windowing, if any."""
        return self.card.hu_range

    @property
    def crop(self) -> tuple[int, int, int] | None:
        """Extent of the crops that the network was trained on, in its voxels; None for whole volumes."""
        return self.card.crop

    @property
    def organs_model(self) -> str:
        """Segmentation model whose organ maps the network was trained with, if it sees any."""
        return self.card.organs_model or DEFAULT_SEGMENTATION

    @property
    def steps(self) -> int:
        """Registration steps by default."""
        return self.card.steps


def save_model(network: Network, card: Mapping[str, Any], path: str | Path) -> None:
    """Write a network's weights in half precision, and beside them its card.

    Args:
        network: Made by :func:`mics.network.kinds.build`, so that its settings say how to make it again.
        card: What the network and its weights do not say themselves: ``spacing_mm``, ``hu_range``, and whatever else a
            :class:`mics.network.card.ModelCard` knows.
        path: ``NAME.safetensors``; the card is ``NAME.json``. Each appears whole or not at all.

    Raises:
        InputError: For what is no network, a card that is none, another name, and for weights that are no numbers, or none in
            half precision.
    """
    require_type(network, (RegistrationNetwork, Segmentation), "What is saved is a network of mics.network.kinds.build")
    path = output_path(path)
    if path.suffix != ".safetensors":
        raise SettingError(f"A model cannot be written to {path}: use a name ending in .safetensors.")
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    _require_finite(weights, f"The network for {path}")
    content = save_tensors(weights)
    try:
        full = ModelCard(network=network.config, sha256=hashlib.sha256(content).hexdigest(), **card)
    except ValidationError as error:
        raise InputError(f"What the card of {path} is to say is not right: {first_problem(error)}.") from error
    write_whole(path, lambda temporary: temporary.write_bytes(content))
    write_text(json.dumps(full.model_dump(mode="json"), indent=2) + "\n", path.with_suffix(".json"))


def load_model(name_or_path: str | Path = DEFAULT_REGISTRATION) -> LoadedModel:
    """A trained model.

    Args:
        name_or_path: The name of a shipped one (:func:`available_models`), a ``.safetensors`` file with its ``.json`` card beside
            it, or the folder of a training run.

    Returns:
        The network in evaluation mode, with its card.

    Raises:
        InputError: If it is missing, damaged (checksum), not one of ours, or holds weights that are no numbers.
    """
    path, card_path = _files(name_or_path)
    card = _read_card(path, card_path)
    try:
        content = path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        if checksum != card.sha256:
            raise InputError(f"{path} is damaged or was changed: its SHA-256 is not the one in {card_path.name}.")
        # In single precision and on the CPU, whatever the process that calls has made its default, whose random numbers the
        # first weights, which are not kept, are not drawn from.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            network = build(card.network).float()
        weights = {name: tensor.float() for name, tensor in load_tensors(content).items()}
        network.load_state_dict(weights)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} and {card_path.name} are not a model of this version of MICS: {error}") from error
    _require_finite(weights, f"The model {path}")
    return LoadedModel(network.eval().requires_grad_(False), path.stem, card)


def load_model_for(task: str, given: str | Path | LoadedModel) -> LoadedModel:
    """Like :func:`load_model`, or one that is loaded; raises :class:`InputError` too for a model of another task."""
    model = given if isinstance(given, LoadedModel) else load_model(given)
    _refuse_other_task(task, model.name, model.card)
    return model


def load_card_for(task: str, given: str | Path | LoadedModel) -> ModelCard:
    """What a model says of itself, its weights unread; raises :class:`InputError` as :func:`load_model_for`."""
    if isinstance(given, LoadedModel):
        name, card = given.name, given.card
    else:
        path, card_path = _files(given)
        name, card = path.stem, _read_card(path, card_path)
    _refuse_other_task(task, name, card)
    return card


def available_models() -> list[dict[str, Any]]:
    """List the shipped models, with what their cards say that helps to choose one.

    Returns:
        A dict a model: ``name``, ``task``, ``default`` (whether it is taken where no model is named), ``sha256``,
        ``spacing_mm``, ``hu_range``, ``steps``, ``organs_model`` (whose organ maps it sees, None if it sees none), and in words,
        None where the card is silent, ``title``, ``training_data``, ``validation``, ``limits`` and ``licence``.
    """
    cards = [
        (path.stem, ModelCard.model_validate_json(path.read_bytes())) for path in sorted(BUNDLED_MODELS.glob("*.json"))
    ]
    fields = {"sha256", "spacing_mm", "hu_range", "steps", "title", "training_data", "validation", "limits", "licence"}
    return [
        {
            "name": name,
            "task": card.network.task,
            "default": name in (DEFAULT_REGISTRATION, DEFAULT_SEGMENTATION),
            **card.model_dump(mode="json", include=fields),
            "organs_model": (card.organs_model or DEFAULT_SEGMENTATION) if card.sees_organ_maps else None,
        }
        for name, card in cards
    ]


def load_initial_weights(network: Network, model: str | Path) -> None:
    """Copy the weights of a finished model into a network of the same shape, to fine-tune it.

    The network may also have a level more than the model; that stays as it is. Raises :class:`InputError` for any other shape.
    """
    loaded = load_model(model).network
    own = network.state_dict()
    if not takes_weights_of(network, loaded):
        raise SettingError(f"{model} has another network shape than the recipe's preset.")
    network.load_state_dict({**own, **loaded.state_dict()})


def takes_weights_of(network: Network, other: Network) -> bool:
    """Whether every weight of ``other`` has a place in ``network``."""
    own = network.state_dict()
    return all(name in own and own[name].shape == tensor.shape for name, tensor in other.state_dict().items())


def _files(name_or_path: str | Path) -> tuple[Path, Path]:
    """The weights and the card of a model that has both. Raises InputError for any other."""
    named = as_path(name_or_path)
    path = BUNDLED_MODELS / f"{name_or_path}.safetensors"
    if not path.is_file():
        path = named
    if path.is_dir():
        path = path / "model.safetensors"
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        known = ", ".join(model["name"] for model in available_models())
        raise MissingFileError(
            f"There is no model {name_or_path}; give one of {known}, or a .safetensors file with its .json card."
        )
    return path, card_path


def _read_card(path: Path, card_path: Path) -> ModelCard:
    try:
        return ModelCard.model_validate_json(card_path.read_bytes(), strict=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValidationError as error:
        raise InputError(
            f"{card_path} is not the card of a model of this version of MICS: {first_problem(error)}."
        ) from error


def _unreadable(path: Path, error: OSError) -> MissingFileError:
    return MissingFileError(f"The model {path} cannot be read ({error.strerror}).")


def _refuse_other_task(task: str, name: str, card: ModelCard) -> None:
    if card.network.task != task:
        raise SettingError(f"The model {name} is for {card.network.task}, not for {task}; see mics info.")


def _require_finite(weights: Mapping[str, Tensor], what: str) -> None:
    if wrong := next((name for name, tensor in weights.items() if not bool(tensor.isfinite().all())), None):
        raise InputError(
            f"{what} has weights that are NaN or infinite ({wrong}): train it again, with a lower learning rate."
        )
