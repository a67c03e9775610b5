"""`mics info`: versions, devices, models."""

import platform
from typing import Any

from mics.cli.manners import asked, results

LIBRARIES = ("mics-registration", "torch", "numpy", "SimpleITK", "isal", "antspyx", "lightning")


def info() -> None:
    """Show versions, devices and the models that can be named with --model, each with what it is for and made of."""
    found = collect()
    if asked().as_json:
        results("", found)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for title in ("versions", "devices"):
        table = Table(title, "", box=None, title_justify="left")
        for name, value in found[title].items():
            table.add_row(name, str(value))
        console.print(table)
        console.print()
    for model in found["models"]:
        default = f", the default for {model['task']}" if model["default"] else ""
        table = Table("model", f"{model['name']}{default}", box=None)
        for name, value in _explained(model):
            table.add_row(name, value)
        console.print(table)
        console.print()
    console.print("Research software, not a medical device.")


def collect() -> dict[str, Any]:
    """What the command shows: ``{"versions": {...}, "devices": {...}, "models": [...]}``."""
    import torch

    from mics.network.weights import available_models

    threads = torch.get_num_threads()
    devices = {"cpu": f"{platform.machine()}, {threads} thread{'s' * (threads > 1)}"}
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices[f"cuda:{index}"] = f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
    versions = {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return {"versions": versions, "devices": devices, "models": available_models()}


def _explained(model: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is to say of a model, line by line."""
    sees = f"volumes of {model['spacing_mm']:g} mm"
    if model["hu_range"] is not None:
        sees += ", HU from {:g} to {:g}".format(*model["hu_range"])
    if model["organs_model"] is not None:
        sees += f", and the organs that {model['organs_model']} finds"
    entries = {
        "for": model["title"],
        "sees": sees,
        "trained on": model["training_data"],
        "measured": model["validation"],
        "limits": model["limits"],
        "licence": model["licence"],
        "sha256": model["sha256"],
    }
    return [(name, value or "not said") for name, value in entries.items()]


def _version(library: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
