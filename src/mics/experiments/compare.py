"""Methods side by side on the same pairs: ``mics compare``."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mics.data.pairs import PairSource, read_pairs
from mics.data.state import state_of
from mics.errors import InputError, RunError
from mics.experiments import comparison_table
from mics.experiments.baselines.methods import METHODS, Choice, choose
from mics.experiments.cell import CellTask, to_argument
from mics.experiments.own_process import run_alone
from mics.experiments.record import read_record
from mics.files.folder import own_folder
from mics.files.whole import write_text
from mics.network.weights import DEFAULT_REGISTRATION, load_model_for

AFFINE = Choice("affine")
_NOTE = "pairs.json"

Rows = list[list[float]]
Progress = Callable[[str], None]


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
    both_directions: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Run methods on pairs with label maps and write ``table.md``, ``table.csv`` and ``cells/METHOD/PAIR.json``.

    The cells of a method with a model are in a folder of their own, ``cells/METHOD-MODEL-KEY``.

    - ``pairs``: a CSV file, or a Learn2Reg folder, whose validation pairs are taken in both directions (``both_directions``).
    - ``methods``: names of :data:`mics.experiments.baselines.methods.METHODS`, ours with a model of your own as
      ``network=MODEL``, which may be there several times; all by default, those that others have registered too. What is not
      installed is skipped with a sentence.
    - ``output``: a folder; cells that it already holds are not computed again, a deleted one is.

    One affine a pair, by the organs of both scans, is computed first and given to every method. Each cell runs in a process of
    its own. A cell that fails is reported, the others go on. A cell whose scans, labels, landmarks or model have changed
    since is computed again. Raises InputError for a list that cannot be used, an unknown method, a model that is not there, and
    an output folder that holds something else, the cells of another list, or into which another run writes; all before anything
    is computed.
    """
    listed = read_pairs(pairs, both_directions=both_directions, needs=("image", "labels"))
    choices, skipped = choose(methods or METHODS)
    wanted = [AFFINE, *(choice for choice in choices if choice != AFFINE)]
    with own_folder(output, "cells", "the cells of a comparison") as folder:
        _refuse_other_results(folder, pairs, listed, wanted)
        by_pair = _cells(folder, listed, wanted)
        (folder / "cells").mkdir(exist_ok=True)
        content = {"pairs": [pair.name for pair in listed], "from": str(Path(pairs).resolve())}
        write_text(json.dumps(content, indent=2) + "\n", folder / _NOTE)
        records, failed = [], []
        for cells in by_pair:
            done, messages = _done(cells, (str(pairs), both_directions), progress)
            records += done
            failed += messages
        records.sort(key=lambda record: wanted.index(Choice(record["method"], record["model"])))
        table = comparison_table.markdown(records)
        write_text(table, folder / "table.md")
        write_text(comparison_table.to_csv(records), folder / "table.csv")
    return Comparison(records, table, skipped, failed)


@dataclass(frozen=True)
class _Cell:
    """A method on a pair. ``made_of``: what its result depends on, beside the affine."""

    folder: Path
    choice: Choice
    pair: PairSource
    made_of: dict[str, Any]

    @property
    def path(self) -> Path:
        """Its record."""
        return _record_path(self.folder, self.choice, self.pair)

    @property
    def log(self) -> Path:
        """What its process says."""
        return self.folder / "logs" / self.choice.folder / f"{self.pair.name}.log"

    def finished(self, affine: Rows | None) -> dict[str, Any] | None:
        """Its record, if it was made of what it would be made of now; ``affine`` is the pair's, None for its own cell."""
        record = read_record(self.path, self.choice.model)
        if record is None or record["made_of"] is None:
            return record
        same = record["made_of"] == self.made_of and (affine is None or record["affine"] == affine)
        return record if same else None


def _cells(folder: Path, listed: Sequence[PairSource], wanted: Sequence[Choice]) -> list[list[_Cell]]:
    """The cells of each pair, the affine's first. Raises InputError where a method's model, or the one it needs, is not there."""
    models = {choice: _models(choice) for choice in wanted}
    cells = []
    for pair in listed:
        files = {str(file): state_of(file) for member in (pair.fixed, pair.moving) for file in member.files.values()}
        common = {"files": files, "version": version("mics-registration")}
        cells.append([_Cell(folder, choice, pair, {**common, "models": models[choice]}) for choice in wanted])
    return cells


def _models(choice: Choice) -> list[str]:
    """SHA-256 of the models that a method of ours runs."""
    if not METHODS[choice.method].model:
        return []
    network = load_model_for("registration", choice.model or DEFAULT_REGISTRATION)
    return [network.sha256, load_model_for("segmentation", network.organs_model).sha256]


def _done(
    cells: Sequence[_Cell], source: tuple[str, bool], progress: Progress | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of a pair's cells, computed where need be, and a sentence for each that failed."""
    records, failed, affine = [], [], None
    for cell in cells:
        record = cell.finished(affine) or _computed(cell, source, affine, progress)
        if record is not None:
            records.append(record)
            affine = record["affine"]
            continue
        failed.append(f"{cell.choice.word} failed on {cell.pair.name}, see {cell.log}.")
        if affine is None:
            break
    return records, failed


def _computed(
    cell: _Cell, source: tuple[str, bool], affine: Rows | None, progress: Progress | None
) -> dict[str, Any] | None:
    """Run a cell in a process of its own; its record, or None if it failed."""
    if progress is not None:
        again = ", again, as what it was made of has changed" if cell.path.exists() else ""
        progress(f"{cell.choice.word} on {cell.pair.name}{again}")
    for path in (cell.path, cell.log):
        path.parent.mkdir(parents=True, exist_ok=True)
    task = CellTask(
        *source,
        cell.pair.name,
        cell.choice.method,
        METHODS[cell.choice.method].adapter,
        cell.choice.model,
        affine,
        str(cell.path),
        cell.made_of,
        os.getpid(),
    )
    run_alone([sys.executable, "-m", "mics.experiments.cell", to_argument(task)], cell.log)
    return cell.finished(affine)


def _refuse_other_results(
    folder: Path, pairs: str | Path, listed: Sequence[PairSource], wanted: Sequence[Choice]
) -> None:
    """Raise InputError if the folder's cells are of another list of pairs, or of another model."""
    note = folder / _NOTE
    try:
        source = json.loads(note.read_bytes())["from"] if note.exists() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{note} is damaged; delete it if these cells are of {pairs}, or give another folder."
        ) from error
    if source not in (None, str(Path(pairs).resolve())):
        raise RunError(f"{folder} holds results for another list of pairs; give another output folder.")
    for choice in wanted:
        for pair in listed:
            read_record(_record_path(folder, choice, pair), choice.model)


def _record_path(folder: Path, choice: Choice, pair: PairSource) -> Path:
    return folder / "cells" / choice.folder / f"{pair.name}.json"
