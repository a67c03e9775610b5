"""Arguments that several commands take, and mean the same by."""

from pathlib import Path
from typing import Annotated

import typer

from mics.choices import Refine

Model = Annotated[str, typer.Option(help="Name of a shipped model (see `mics info`) or path of a trained one.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:N.")]
RefineEach = Annotated[Refine, typer.Option(help="Work spent on each registration: none, fast or accurate.")]
ContinuedFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results; an interrupted run goes on in it.")
]
LabelNamesFile = Annotated[
    Path | None,
    typer.Option(help="What the labels mean: JSON, CSV, ITK-SNAP or a label map that holds names; see the docs."),
]
