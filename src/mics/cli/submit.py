"""`mics submit`: the Learn2Reg challenge's pairs, registered and packed as it wants them."""

from pathlib import Path
from typing import Annotated

import typer

from mics.choices import Refine, SubmissionNames, SubmittedPairs
from mics.cli.manners import line
from mics.cli.options import Device, Model
from mics.cli.progress import progress


def submit(
    data: Annotated[Path, typer.Argument(help="Learn2Reg AbdomenCTCT folder of either release.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the submission; an interrupted run goes on in it.")
    ],
    pairs: Annotated[
        SubmittedPairs, typer.Option(help="test (39 pairs of today's challenge, 55 of that of 2020) or validation.")
    ] = "test",
    names: Annotated[
        SubmissionNames, typer.Option(help="File names of the challenge's current script or of that of 2020.")
    ] = ("current"),
    model: Model = "mics-velocity",
    affine: Annotated[
        str, typer.Option(help="organs or ants (computed), or none: the challenge's scans lie in one frame.")
    ] = "organs",
    refine: Annotated[
        Refine, typer.Option(help="Work spent on improving the prediction on each pair: none, fast or accurate.")
    ] = "fast",
    device: Device = "auto",
) -> None:
    """Register the pairs that the Learn2Reg challenge scores, and pack their displacements as it wants them."""
    from mics.experiments.submit import submit as run

    with progress() as step:
        path = run(
            data,
            output,
            pairs=pairs,
            names=names,
            model=model,
            affine=affine,
            refine=refine,
            device=device,
            progress=step,
        )
    line(f"Written to {path}")
