"""`mics submit`: the Learn2Reg challenge's pairs, registered and packed as it wants them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mics.cli.evaluate import Names
from mics.cli.progress import progress


class Pairs(StrEnum):
    """Which pairs of the challenge."""

    TEST = "test"
    VALIDATION = "validation"


def submit(
    data: Annotated[Path, typer.Argument(help="Learn2Reg AbdomenCTCT folder of either release.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the submission; an interrupted run goes on in it.")
    ],
    pairs: Annotated[
        Pairs, typer.Option(help="test (39 pairs of today's challenge, 55 of that of 2020) or validation.")
    ] = Pairs.TEST,
    names: Annotated[Names, typer.Option(help="File names of the challenge's current script or of that of 2020.")] = (
        Names.CURRENT
    ),
    model: Annotated[
        str, typer.Option(help="Name of a shipped model (see `mics info`) or path of a trained one.")
    ] = "mics-velocity",
    affine: Annotated[
        str, typer.Option(help="ants (computed) or none: the challenge's scans lie in one frame.")
    ] = "ants",
    refine: Annotated[
        str, typer.Option(help="Work spent on improving the prediction on each pair: none, fast or accurate.")
    ] = "fast",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
) -> None:
    """Register the pairs that the Learn2Reg challenge scores, and pack their displacements as it wants them."""
    from mics.experiments.submit import submit as run

    with progress() as step:
        path = run(
            data,
            output,
            pairs=pairs.value,
            names=names.value,
            model=model,
            affine=affine,
            refine=refine,
            device=device,
            progress=step,
        )
    typer.echo(f"Written to {path}")
