"""`mics pseudo-labels`: complete the annotations of a prepared set by a segmentation network."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.manners import line, results
from mics.cli.options import Device
from mics.errors import counted


def pseudo_labels(
    prepared: Annotated[Path, typer.Argument(help="Folder that mics prepare has made.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the completed set; verdicts.csv there is honoured.")
    ],
    model: Annotated[
        str, typer.Option(help="Name of a shipped segmentation model (see `mics info`) or path of a trained one.")
    ] = "organs-small",
    device: Device = "auto",
) -> None:
    """Predict the organs that are not annotated, rank them by plausibility, and write a set to train with."""
    from mics.pseudo_labels.complete import complete
    from mics.pseudo_labels.page import PAGE
    from mics.registration.device import choose_device

    rows = complete(
        prepared,
        output,
        model=model,
        device=choose_device(device),
        progress=lambda name: line(f"predicted {name}"),
    )
    added = sum(len(row.pseudo_organs) for row in rows if row.status == "prepared")
    rejected = sum(row.status == "rejected" for row in rows)
    results(
        f"{counted(added, 'organ')} added, {counted(rejected, 'case')} rejected: look at {output / PAGE}, worst first",
        {"folder": output, "page": output / PAGE, "organs_added": added, "cases_rejected": rejected},
    )
