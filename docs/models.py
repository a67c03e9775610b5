"""Writes models.md from the cards of the shipped models: python docs/models.py. A test holds that page and cards agree."""

from pathlib import Path

from mics.network.config import RegistrationConfig
from mics.network.weights import DEFAULT_REGISTRATION, DEFAULT_SEGMENTATION, LoadedModel, available_models, load_model

PAGE = Path(__file__).with_name("models.md")

HEAD = """# Models

What lies in the package, as each model's card says it (`src/mics/network/weights/*.json`; `mics.load_model(NAME).card` in
Python). This page is printed from the cards by `python docs/models.py`. Weights are safetensors in half precision; they are
checked by their SHA-256 whenever they are loaded, and nothing is fetched. How they were trained:
[Training](training.md#the-shipped-weights). A model of your own has such a card too, and is named by its folder:
`mics register --model RUN`.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as the cards have it."""
    models = [load_model(model["name"]) for model in available_models()]
    models.sort(key=lambda model: (not isinstance(model.card.network, RegistrationConfig), model.name))
    rows = ["| model | what | sees, mm | parameters, millions | used by |", "|---|---|---|---|---|"]
    rows += [_row(model, models) for model in models]
    return "\n".join([HEAD, *rows, "", *(line for model in models for line in _section(model))])


def _row(model: LoadedModel, models: list[LoadedModel]) -> str:
    what = "registration" if isinstance(model.card.network, RegistrationConfig) else "segmentation"
    count = sum(parameter.numel() for parameter in model.network.parameters()) / 1e6
    used = _used_by(model, models)
    return f"| [`{model.name}`](#{model.name}) | {what} | {model.spacing_mm:g} | {count:.1f} | {used} |"


def _used_by(model: LoadedModel, models: list[LoadedModel]) -> str:
    if model.name == DEFAULT_REGISTRATION:
        return "`mics register`"
    if isinstance(model.card.network, RegistrationConfig):
        return f"`mics register --model {model.name}`"
    seeing = [other.name for other in models if other.card.sees_organ_maps and other.organs_model == model.name]
    default = ["`mics pseudo-labels`"] if model.name == DEFAULT_SEGMENTATION else []
    return ", ".join([*(f"`{name}`" for name in seeing), *default])


def _section(model: LoadedModel) -> list[str]:
    card, said = model.card, model.card.model_extra or {}
    facts = {"title": said.get("title"), "network": f"`{card.network.kind}`, channels {_numbers(card.network)}"}
    if isinstance(card.network, RegistrationConfig):
        inverse = "by construction" if card.inverse_by_construction else "by a loss in training"
        facts |= {"inverse directions": inverse, "steps": card.steps}
        facts |= {"organ maps of": f"`{model.organs_model}`" if card.sees_organ_maps else "none"}
    low, high = card.hu_range or (None, None)
    facts |= {"HU": "not clipped" if low is None else f"clipped to {low:g} to {high:g}"}
    facts |= {"trained in crops of": "×".join(map(str, card.crop)) + " voxels" if card.crop else "whole volumes"}
    for key in ("training_data", "command", "training_note", "validation", "limits"):
        facts[key.replace("_", " ")] = said.get(key)
    facts |= {"SHA-256": f"`{card.sha256}`"}
    lines = [f"| {key} | {str(value).replace('|', '∣')} |" for key, value in facts.items() if value is not None]
    return [f"## {model.name}", "", "| | |", "|---|---|", *lines, ""]


def _numbers(network: object) -> str:
    return ", ".join(map(str, network.channels))


if __name__ == "__main__":
    main()
