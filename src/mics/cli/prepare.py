"""`mics prepare`: public cohorts, as published, to one training set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mics.cli.errors import BAD_INPUT, print_message
from mics.cli.manners import asked, line, results
from mics.errors import SettingError, counted

if TYPE_CHECKING:
    from mics.data.manifest import Entry


def prepare(
    cohorts: Annotated[
        list[str] | None, typer.Argument(metavar="COHORT=FOLDER...", help="Cohorts as --list names them, and where.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the training set; what is done there already stays."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the cohorts that are known, and do nothing.")] = False,
    reference: Annotated[
        str | None,
        typer.Option(help="Case that all others are registered to, as learn2reg_0002; by default the first."),
    ] = None,
    spacing: Annotated[float, typer.Option(min=0.1, help="Voxel edge in mm.")] = 2.0,
    size: Annotated[
        tuple[int, int, int], typer.Option(help="Voxels from right to left, back to front, foot to head.")
    ] = (
        192,
        160,
        256,
    ),
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes of one thread each; by default as many as there are cores."),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, whose workers are used.")] = None,
) -> None:
    """Bring public cohorts, as their publishers distribute them, into one frame, spacing, shape and list of organs."""
    if list_all:
        _show()
        return
    if not cohorts or output is None:
        raise SettingError("Give cohorts as NAME=FOLDER (mics prepare --list names them) and --output.")
    from mics.data.cohorts.catalogue import open_cohorts
    from mics.data.prepare import prepare as run
    from mics.data.workers import default_workers
    from mics.registration.affine import register_affine

    entries = run(
        open_cohorts(places(cohorts)),
        output,
        affine=register_affine,
        reference=reference,
        spacing_mm=spacing,
        size=size,
        workers=workers or default_workers(),
        scheduler=scheduler,
        progress=report,
    )
    prepared = sum(entry.status == "prepared" for entry in entries)
    results(
        f"{counted(prepared, 'case')} in {output}; look at previews there, and at manifest.csv",
        {"folder": output, "cases": in_json(entries)},
    )
    refuse_failed(entries)


def report(entry: "Entry", more: str = "") -> None:
    """Print what became of a case, with what else is to be said of it, and its warnings."""
    line(": ".join(filter(None, (f"{entry.status} {entry.name}", entry.reason, more))))
    for warning in entry.warnings:
        print_message(f"Warning: {entry.name}: {warning}")


def in_json(entries: "Sequence[Entry]") -> list[dict[str, object]]:
    """What became of each case."""
    return [{"name": entry.name, "status": entry.status, "reason": entry.reason} for entry in entries]


def refuse_failed(entries: "Sequence[Entry]") -> None:
    """End the command as for bad input if a case could not be prepared; what could be done is done."""
    failed = [entry for entry in entries if entry.status == "failed"]
    if failed:
        first = failed[0]
        print_message(
            f"Error: {counted(len(failed), 'case')} could not be prepared ({first.name}: {first.reason}); see manifest.csv."
        )
        raise typer.Exit(BAD_INPUT)


def places(cohorts: list[str]) -> dict[str, str | Path]:
    """``NAME=FOLDER`` as a mapping; raises InputError for another form and for a cohort that is named twice."""
    found: dict[str, str | Path] = {}
    for text in cohorts:
        name, equals, place = text.partition("=")
        if not equals or not place or name in found:
            raise SettingError(
                f"Give each cohort once, as NAME=FOLDER, for example kits19=/data/kits19/data, not {text!r}."
            )
        found[name] = place
    return found


def _show() -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from mics.data.cohorts.catalogue import ADAPTERS

    if asked().as_json:
        known = ("name", "title", "subjects", "annotated", "layout", "known_issues")
        results("", {"cohorts": [{name: getattr(one, name) for name in known} for one in ADAPTERS.values()]})
        return
    titles = ("cohort", "subjects", "annotated", "expected in the folder", "known of it")
    table = Table(*(Column(title, overflow="fold") for title in titles), box=None, pad_edge=False)
    for adapter in ADAPTERS.values():
        table.add_row(
            f"{adapter.name}\n  {adapter.title}",
            adapter.subjects,
            adapter.annotated,
            adapter.layout,
            adapter.known_issues,
        )
        table.add_row()
    Console(highlight=False).print(table)
