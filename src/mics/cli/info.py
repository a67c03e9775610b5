"""`mics info`: versions, devices, models."""

import json
import platform
from typing import Annotated, Any

import typer

LIBRARIES = ("mics-registration", "torch", "numpy", "SimpleITK", "antspyx", "lightning")


def info(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False) -> None:
    """Show versions, devices and the models that can be named with --model."""
    found = collect()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
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
    models = Table("models", "task", "sha256", box=None)
    for model in found["models"]:
        models.add_row(model["name"], model["task"], model["sha256"][:16])
    console.print(models)
    console.print("\nResearch software, not a medical device.")


def collect() -> dict[str, Any]:
    """What the command shows: ``{"versions": {...}, "devices": {...}, "models": [...]}``."""
    import torch

    from mics.network.weights import available_models

    devices = {"cpu": f"{platform.machine()}, {torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices[f"cuda:{index}"] = f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
    versions = {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return {"versions": versions, "devices": devices, "models": available_models()}


def _version(library: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
