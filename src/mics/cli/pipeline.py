"""`mics pipeline`: from raw cohorts to an evaluated registration model, in one go."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.extras import needs_training
from mics.cli.manners import line, lines_of, results


def pipeline(
    plan: Annotated[Path, typer.Argument(help="YAML file: cohorts, and how to train (see docs/cohorts.md).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything; what is current there is not done again.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N, for predictions and the evaluation.")] = "auto",
) -> None:
    """Prepare, train the segmentation, complete the annotations, pretrain, fine-tune and evaluate."""
    from mics.pipeline.plan import load_plan

    checked = load_plan(plan)
    with needs_training():
        from mics.pipeline.pipeline import run
    with lines_of("mics.training"):
        places = run(checked, output, device=device, progress=line)
    results("\n".join(f"{stage:14} {place}" for stage, place in places.items()), places)
