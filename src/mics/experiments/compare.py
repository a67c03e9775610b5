"""Methods side by side on the same pairs: ``mics compare``."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mics.data.pairs import Pair, read_pairs
from mics.errors import InputError
from mics.experiments import comparison_table
from mics.experiments.cell import Task, to_argument
from mics.experiments.peers.methods import METHODS, Choice, choose
from mics.image.folder import writable_folder
from mics.image.whole import write_text

AFFINE = Choice("affine")


@dataclass(frozen=True)
class Comparison:
    """What came out: the records of all finished cells, the table, and sentences on what was skipped or failed."""

    records: list[dict[str, Any]]
    table: str
    skipped: list[str]
    failed: list[str]


def compare(
    pairs: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str] | None = None,
    both_ways: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Run methods on pairs with label maps and write ``table.md``, ``table.csv`` and ``cells/METHOD/PAIR.json``.

    - ``pairs``: a CSV file, or a Learn2Reg folder, whose validation pairs are taken in both directions (``both_ways``).
    - ``methods``: names of :data:`mics.experiments.peers.methods.METHODS`, ours with a model of your own as
      ``network=MODEL``; all by default. What is not installed is skipped with a sentence.
    - ``output``: a folder; cells that it already holds are not computed again, a deleted one is.

    One ANTs affine a pair is computed first and given to every method. Each cell runs in a process of its own. A cell that
    fails is told and leaves the others alone. Raises InputError for a list that cannot be used, an unknown method, and an
    output folder that holds the cells of another list.
    """
    listed = read_pairs(pairs, both_ways=both_ways, needs=("image", "labels"))
    choices, skipped = choose(methods or METHODS)
    folder = writable_folder(output)
    _claim(folder, pairs, listed)
    source = (str(pairs), both_ways)
    wanted = [AFFINE, *(choice for choice in choices if choice != AFFINE)]
    failed: list[str] = []
    for pair in listed:
        affine = None
        for choice in wanted:
            record = _finished(folder, choice, pair) or _computed(folder, choice, pair, source, affine, progress)
            if record is None:
                failed.append(f"{choice.method} failed on {pair.name}, see {_log(folder, choice, pair)}.")
                if choice == AFFINE:
                    break
            elif choice == AFFINE:
                affine = record["affine"]
    records = [r for choice in wanted for pair in listed if (r := _finished(folder, choice, pair)) is not None]
    table = comparison_table.markdown(records)
    write_text(table, folder / "table.md")
    write_text(comparison_table.to_csv(records), folder / "table.csv")
    return Comparison(records, table, skipped, failed)


def _computed(
    folder: Path,
    choice: Choice,
    pair: Pair,
    source: tuple[str, bool],
    affine: list[list[float]] | None,
    progress: Callable[[str], None] | None,
) -> dict[str, Any] | None:
    """Run a cell in a process of its own; its record, or None if it failed."""
    if progress is not None:
        progress(f"{choice.method} on {pair.name}")
    cell, log = _cell(folder, choice, pair), _log(folder, choice, pair)
    for path in (cell, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    task = Task(*source, pair.name, choice.method, choice.model, affine, str(cell))
    with log.open("w") as file:
        command = [sys.executable, "-m", "mics.experiments.cell", to_argument(task)]
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    return _finished(folder, choice, pair)


def _finished(folder: Path, choice: Choice, pair: Pair) -> dict[str, Any] | None:
    """The record of a cell that was computed before, with the model that is asked for now."""
    try:
        record: dict[str, Any] = json.loads(_cell(folder, choice, pair).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{_cell(folder, choice, pair)} is damaged; delete it, and it is computed again.") from error
    if record["model"] != choice.model:
        raise InputError(
            f"{_cell(folder, choice, pair)} was computed with the model {record['model']}, not {choice.model}: give another "
            "output folder, or delete the old cells."
        )
    return record


def _claim(folder: Path, pairs: str | Path, listed: list[Pair]) -> None:
    """Note which list the folder's cells are of; refuse another one."""
    note, content = folder / "pairs.json", {"pairs": [pair.name for pair in listed], "from": str(Path(pairs).resolve())}
    if not note.exists():
        write_text(json.dumps(content, indent=2) + "\n", note)
    elif json.loads(note.read_text(encoding="utf-8"))["from"] != content["from"]:
        raise InputError(f"{folder} holds results for another list of pairs; give another output folder.")


def _cell(folder: Path, choice: Choice, pair: Pair) -> Path:
    return folder / "cells" / choice.method / f"{pair.name}.json"


def _log(folder: Path, choice: Choice, pair: Pair) -> Path:
    return folder / "logs" / choice.method / f"{pair.name}.log"
