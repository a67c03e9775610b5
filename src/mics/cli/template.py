"""`mics template`: the average of a group of scans."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.errors import print_message
from mics.cli.manners import in_folder, results
from mics.cli.options import ContinuedFolder, Device, Model, RefineEach
from mics.cli.progress import progress


def template(
    scans: Annotated[
        Path,
        typer.Argument(
            help="The group: a Learn2Reg or nnU-Net folder, a folder of scans, or a CSV file with the column image."
        ),
    ],
    output: ContinuedFolder,
    rounds: Annotated[int, typer.Option(help="Rounds at most; fewer where it has converged.")] = 4,
    spacing_mm: Annotated[float, typer.Option(help="Voxel edge of the template, in mm.")] = 2.0,
    start: Annotated[str | None, typer.Option(metavar="NAME", help="The scan to begin with.")] = None,
    model: Model = "mics-velocity",
    refine: RefineEach = "fast",
    device: Device = "auto",
) -> None:
    """Average SCANS in shape and grey values without bias to one of them, with transforms to and from every one."""
    from mics.atlas.template import template as run

    with progress() as step:
        result = run(
            scans,
            output,
            rounds=rounds,
            spacing_mm=spacing_mm,
            start=start,
            model=model,
            refine=refine,
            device=device,
            progress=step,
        )
    lines = []
    for one in result.rounds:
        parts = [f"Round {one.round}: {one.members} scans, spread {one.spread_hu:.1f} HU"]
        parts += [f"mean displacement {one.bias_mm:.2f} mm"]
        parts += [] if one.drift_mm is None else [f"mean shape moved by {one.drift_mm:.2f} mm"]
        parts += [] if one.dice is None else [f"Dice between scans {one.dice:.3f}"]
        lines.append(", ".join(parts))
    lines += [f"Verdict: {result.verdict}", f"Written to {output}"]
    results("\n".join(lines), in_folder(output))
    for message in result.reasons:
        print_message(message)
