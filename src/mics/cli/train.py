"""`mics train`: train a registration or a segmentation network."""

from pathlib import Path
from typing import Annotated

import typer

from mics.errors import InputError


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe or path of a YAML file.")],
    data: Annotated[str, typer.Option(help="Folder in the Learn2Reg layout, or phantom:N for N generated people.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run: cases, checkpoints, curves, model.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")
    ] = None,
    initial: Annotated[str | None, typer.Option(help="Model to start from: a name or a path.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last epoch.")] = False,
) -> None:
    """Train a network as a recipe says, and export its best epoch as a model that `mics register` takes."""
    try:
        from mics.training.start import start
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        raise InputError("Training needs Lightning: install mics-registration[train].") from error
    model = start(recipe, data, output, overrides=overrides, initial=initial, resume=resume)
    typer.echo(f"Written to {model}")
