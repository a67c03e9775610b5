"""Trained models: half-precision safetensors beside a card in JSON, checked by SHA-256 on load."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from mics.errors import InputError
from mics.image.paths import as_path
from mics.image.whole import write_text, write_whole
from mics.network.card import Card
from mics.network.mics import MICS
from mics.network.pair import RegistrationNetwork
from mics.network.presets import NetworkConfig
from mics.network.segmentation import MonaiSegmentation, OrganSegmentation, Segmentation
from mics.network.velocity import VelocityMICS

DEFAULT_REGISTRATION = "mics-velocity"
DEFAULT_SEGMENTATION = "organs-small"

SHIPPED = Path(str(files("mics.network"))) / "weights"


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode with what its card says."""

    network: RegistrationNetwork | Segmentation
    name: str
    sha256: str
    card: dict[str, Any]

    @property
    def spacing_mm(self) -> float:
        """Voxel edge of the volumes that the network was trained on."""
        return float(self.card["spacing_mm"])

    @property
    def hu_range(self) -> tuple[float, float] | None:
        """Range that HU are clipped to before windowing, if any."""
        low_high = self.card["hu_range"]
        return None if low_high is None else (float(low_high[0]), float(low_high[1]))

    @property
    def crop(self) -> tuple[int, int, int] | None:
        """Extent of the crops that the network was trained on, in its voxels; None for whole volumes."""
        crop = self.card.get("crop")
        return None if crop is None else (int(crop[0]), int(crop[1]), int(crop[2]))

    @property
    def knows_mirrored(self) -> bool:
        """Whether the network was trained on mirrored volumes too."""
        augmentation = self.card.get("recipe", {}).get("augmentation", {})
        return bool(augmentation.get("mirror_probability", 0) > 0)

    @property
    def organs_model(self) -> str:
        """Segmentation model whose organ maps the network was trained with, if it sees any."""
        return str(self.card.get("recipe", {}).get("organs_model", DEFAULT_SEGMENTATION))

    @property
    def steps(self) -> int:
        """Registration steps by default."""
        return int(self.card.get("steps", 1))


def build(config: NetworkConfig) -> RegistrationNetwork | Segmentation:
    """The network of a configuration, with random weights."""
    if config.task == "registration":
        return VelocityMICS(config) if config.velocity_levels else MICS(config)
    return MonaiSegmentation(config) if config.library == "monai" else OrganSegmentation(config)


def save_model(network: RegistrationNetwork | Segmentation, card: dict[str, Any], path: Path) -> None:
    """Write ``path`` (``NAME.safetensors``, float16) and ``NAME.json``: ``card`` plus the network's shape and checksum.

    ``card`` must hold ``spacing_mm`` and ``hu_range``. Both are written under a temporary name first. Raises
    :class:`InputError` for weights that are no numbers, or none in half precision.
    """
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    _require_finite(weights, f"The network for {path}")
    content = save_tensors(weights)
    full = {"network": network.config.model_dump(), "sha256": hashlib.sha256(content).hexdigest(), **card}
    write_whole(path, lambda temporary: temporary.write_bytes(content))
    write_text(json.dumps(full, indent=2) + "\n", path.with_suffix(".json"))


def load_model(name_or_path: str | Path = DEFAULT_REGISTRATION) -> LoadedModel:
    """A shipped model by name, or a ``.safetensors`` file with its ``.json`` card beside it.

    Raises :class:`InputError` if it is missing, damaged (checksum), not one of ours, or holds weights that are no numbers.
    """
    named = as_path(name_or_path)
    path = SHIPPED / f"{name_or_path}.safetensors"
    if not path.is_file():
        path = named
    if path.is_dir():
        path = path / "model.safetensors"
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        known = ", ".join(model["name"] for model in available_models())
        raise InputError(
            f"There is no model {name_or_path}; give one of {known}, or a .safetensors file with its .json card."
        )
    try:
        content, text = path.read_bytes(), card_path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        card = Card.model_validate_json(text, strict=True)
        if checksum != card.sha256:
            raise InputError(f"{path} is damaged or was changed: its SHA-256 is not the one in {card_path.name}.")
        # In single precision, whatever the process that calls has made its default.
        network = build(card.network).float()
        weights = {name: tensor.float() for name, tensor in load_tensors(content).items()}
        network.load_state_dict(weights)
    except OSError as error:
        raise InputError(f"The model {path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise InputError(f"{card_path} is not the card of a model of this version of MICS: {_amiss(error)}.") from error
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} and {card_path.name} are not a model of this version of MICS: {error}") from error
    _require_finite(weights, f"The model {path}")
    return LoadedModel(network.eval().requires_grad_(False), path.stem, checksum, json.loads(text))


def load_model_for(task: str, name_or_path: str | Path) -> LoadedModel:
    """Like :func:`load_model`; raises :class:`InputError` too for a model of another task than ``task``."""
    model = load_model(name_or_path)
    trained_for = model.network.config.task
    if trained_for != task:
        raise InputError(f"The model {model.name} is for {trained_for}, not for {task}; see mics info.")
    return model


def available_models() -> list[dict[str, Any]]:
    """Name, task and checksum of every shipped model."""
    cards = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(SHIPPED.glob("*.json"))]
    return [{"name": name, "task": card["network"]["task"], "sha256": card["sha256"]} for name, card in cards]


def load_initial_weights(network: RegistrationNetwork | Segmentation, model: str | Path) -> None:
    """Copy the weights of a finished model into a network of the same shape, to fine-tune it.

    The network may also have a level more than the model; that stays as it is. Raises :class:`InputError` for any other shape.
    """
    loaded = load_model(model).network
    own = network.state_dict()
    if not takes_weights_of(network, loaded):
        raise InputError(f"{model} has another network shape than the recipe's preset.")
    network.load_state_dict({**own, **loaded.state_dict()})


def takes_weights_of(network: RegistrationNetwork | Segmentation, other: RegistrationNetwork | Segmentation) -> bool:
    """Whether every weight of ``other`` has a place in ``network``."""
    own = network.state_dict()
    return all(name in own and own[name].shape == tensor.shape for name, tensor in other.state_dict().items())


def _require_finite(weights: Mapping[str, Tensor], what: str) -> None:
    if wrong := next((name for name, tensor in weights.items() if not bool(tensor.isfinite().all())), None):
        raise InputError(
            f"{what} has weights that are NaN or infinite ({wrong}): train it again, with a lower learning rate."
        )


def _amiss(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
