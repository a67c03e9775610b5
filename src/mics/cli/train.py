"""`mics train`: train a registration or a segmentation network."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.extras import needs_training
from mics.errors import SettingError


def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a shipped recipe or path of a YAML file.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder made by mics prepare, or in the Learn2Reg layout, or phantom:N (generated)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run: cases, checkpoints, curves, model.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")
    ] = None,
    initial: Annotated[str | None, typer.Option(help="Model to start from: a name or a path.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Graphics cards (or processes, without any) on each node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, started by torchrun or Slurm.")] = 1,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder; needs nothing else.")
    ] = None,
) -> None:
    """Train a network as a recipe says, and export its best epoch as a model that `mics register` takes."""
    with needs_training():
        from lightning.pytorch.utilities import rank_zero_only

        from mics.report.training import OverviewPerEpoch
        from mics.training.start import resume as go_on
        from mics.training.start import start
    if resume is not None:
        if any((recipe, data, output, overrides, initial, devices > 1, nodes > 1)):
            raise SettingError(
                "--resume RUN takes everything from the run: leave out the recipe and all other options."
            )
        model = go_on(resume, callbacks=[OverviewPerEpoch(resume)])
    elif recipe is None or data is None or output is None:
        raise SettingError("A new run needs a recipe, --data and --output; a run is gone on with by --resume RUN.")
    else:
        model = start(
            recipe,
            data,
            output,
            overrides=overrides,
            initial=initial,
            devices=devices,
            nodes=nodes,
            callbacks=[OverviewPerEpoch(output)],
        )
    rank_zero_only(typer.echo)(f"Written to {model}")
