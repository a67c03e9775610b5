"""`mics compare`: other tools and ours on the same pairs, measured by the same code."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.errors import print_message
from mics.cli.manners import results
from mics.cli.progress import progress


def compare(
    pairs: Annotated[
        Path, typer.Argument(help="CSV list of pairs, or a Learn2Reg folder (validation pairs, both directions).")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for cells and tables; an interrupted run goes on in it.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, ours with models of your own as network=MODEL, several of them too; by default all installed."
        ),
    ] = None,
) -> None:
    """Register PAIRS by several methods from the same affine, and tabulate accuracy, regularity, time and memory."""
    from mics.experiments.compare import compare as run

    chosen = None if methods is None else [word.strip() for word in methods.split(",")]
    with progress() as step:
        result = run(pairs, output, methods=chosen, progress=step)
    results(
        f"{result.table}\nWritten to {output}",
        {"folder": output, "cells": result.records, "skipped": result.skipped, "failed": result.failed},
    )
    for message in [*result.skipped, *result.failed]:
        print_message(message)
    if result.failed:
        raise typer.Exit(1)
