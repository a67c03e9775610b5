"""`mics evaluate`: score deformations as the Learn2Reg challenge does, and more."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mics.choices import SubmissionNames
from mics.cli.manners import in_folder, results
from mics.cli.options import LabelNamesFile
from mics.cli.output import Results, output_folder
from mics.cli.progress import progress
from mics.errors import SettingError


def _is_evaluation(folder: Path) -> bool:
    try:
        keys = set(json.loads((folder / "summary.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return False
    return keys >= {"submission", "pairs", "differences"}


_OURS = Results(
    "the tables of an evaluation", ("summary.json", "summary.md", "pairs.csv", "organs.csv"), _is_evaluation
)


def evaluate(
    submission: Annotated[
        Path,
        typer.Argument(help="Folder or zip with disp_FIXED_MOVING.nii.gz or a FIXED_MOVING folder for every pair."),
    ],
    pairs: Annotated[Path, typer.Argument(help="CSV list of pairs, or a Learn2Reg folder (its registration_val).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables; new or empty.")],
    against: Annotated[
        Path | None, typer.Option(help="Another submission for the same pairs: the difference is tested.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the deformations as a Learn2Reg submission too: a new folder or .zip.")
    ] = None,
    names: Annotated[
        SubmissionNames, typer.Option(help="File names of --export: those of the current script or of 2020.")
    ] = "current",
    label_names: LabelNamesFile = None,
    resplit: Annotated[
        bool,
        typer.Option(
            "--resplit", help="As the public re-split: its test pairs, at 4 mm, an organ that either scan lacks as 0."
        ),
    ] = False,
) -> None:
    """Score a SUBMISSION on PAIRS with label maps: per pair, per organ and in all, as CSV, JSON and Markdown."""
    if export is not None and export.absolute().is_relative_to(output.absolute()):
        raise SettingError("`export` lies in the folder of the tables: name another place for it.", option="export")
    with output_folder(output, _OURS), progress() as step:
        from mics.evaluation.evaluate import evaluate as run
        from mics.files.folder import free_folder

        result = run(
            submission,
            pairs,
            against=against,
            export=export,
            names=names,
            label_names=label_names,
            resplit=resplit,
            progress=step,
        )
        place = free_folder(output)  # whatever has come into the folder meanwhile
        result.save(place)
    table = (place / "summary.md").read_text(encoding="utf-8")
    results(f"{table}\nWritten to {place}", in_folder(place))
