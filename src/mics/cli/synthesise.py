"""`mics synthesise`: more subjects to train on, from label maps without images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mics.cli.manners import results
from mics.cli.prepare import in_json, refuse_failed, report
from mics.errors import counted

if TYPE_CHECKING:
    from mics.data.manifest import Entry


def synthesise(
    data: Annotated[Path, typer.Argument(help="Folder made by mics prepare, or in the Learn2Reg layout.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the training set; what is done there already stays.")
    ],
    labels: Annotated[
        Path | None, typer.Argument(help="Folder of label maps (*.nii.gz) of other subjects, on the same grid.")
    ] = None,
    source_cases: Annotated[
        int, typer.Option(min=1, max=1000, help="Subjects whose scans are used for each label map.")
    ] = 3,
    between: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="Subjects to make of each training subject, on the way to others' shapes or from them.",
        ),
    ] = 0,
) -> None:
    """Bring scans of training subjects into other shapes: of subjects of whom only the labels are known, and between subjects."""
    from mics.pipeline.synthesise import COHORT, synthesise

    def shown(entry: "Entry") -> None:
        before, after = (entry.checks.get(key) for key in ("dice_before", "dice_after"))
        report(entry, "" if after is None else f"mean Dice {before:.2f} -> {after:.2f}")

    rows = synthesise(data, labels, output, source_cases=source_cases, between=between, progress=shown)
    made = sum(row.cohort == COHORT and row.status == "prepared" for row in rows)
    results(
        f"{counted(made, 'subject')} synthesised in {output}; look at previews there, and at manifest.csv",
        {"folder": output, "subjects": made, "cases": in_json(rows)},
    )
    refuse_failed(rows)
