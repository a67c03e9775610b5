"""`mics experiment`: the paper's tables and figures."""

from pathlib import Path
from typing import Annotated

import typer

from mics.choices import BudgetName, Experiment
from mics.cli.extras import needs_training
from mics.cli.manners import line
from mics.cli.progress import progress


def experiment(
    name: Annotated[Experiment, typer.Argument(help="Table or figure of the paper.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of trainings, measurements and results; shared by all of a budget."
        ),
    ],
    budget: Annotated[
        BudgetName,
        typer.Option(help="smoke (minutes, phantom), small (hours on two cores), paper (the paper's settings)."),
    ] = "smoke",
    data: Annotated[Path | None, typer.Option(help="Folder in the Learn2Reg layout; for small and paper.")] = None,
    pretraining: Annotated[
        str | None, typer.Option(help="Data of the pretraining, as mics train --data; small takes phantoms without it.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Several, as cuda:0,cuda:1: the trainings and measurements spread over them (Dask)."),
    ] = None,
) -> None:
    """Train and measure what a table or figure of the paper needs, and write it with the paper's values beside ours."""
    with needs_training():
        from mics.experiments.run import experiment as run
    chosen = [] if devices is None else [device.strip() for device in devices.split(",")]
    with progress() as step:
        text = run(name, output, budget=budget, data=data, pretraining=pretraining, devices=chosen, progress=step)
    line(text)
    line(f"Written to {output}")
