"""The manifest of prepared cases: a CSV with one row a case, and why a case is not there to be trained on."""

import csv
import io
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mics.data.cohorts.case import Split
from mics.data.names import is_file_name
from mics.errors import InputError, MissingFileError, RunError, first_problem
from mics.files.csv_rows import CsvRows
from mics.files.whole import write_text

MANIFEST = "manifest.csv"


class Entry(BaseModel):
    """One case. Files are relative to the manifest's folder; ``split`` is the publisher's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The cohort's name and the publisher's: ``kits19_case_00000``."""
    cohort: str
    split: Split
    status: Literal["prepared", "excluded", "failed", "rejected"]
    """``excluded``: known to be bad; ``failed``: could not be prepared; ``rejected``: by a reviewer, after pseudo-labelling."""
    reason: str = ""
    organs: tuple[int, ...] = ()
    """Ids that were looked for by the annotators."""
    pseudo_organs: tuple[int, ...] = ()
    """Ids whose labels are a network's."""
    image: str = ""
    labels: str = ""
    """Empty where nothing is annotated."""
    source_image: str = ""
    source_labels: str = ""
    native: dict[str, Any] | None = None
    """Geometry of the scan itself, in its true orientation, for :meth:`mics.image.grid.Grid.from_dict`."""
    affine: list[list[float]] | None = None
    """(4, 4), from LPS points of the prepared volume to LPS points of the scan."""
    checks: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()


def write_manifest(entries: Sequence[Entry], folder: Path) -> Path:
    """Write ``folder/manifest.csv``, sorted by name, whole or not at all; what is not text is JSON. Returns its path."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(Entry.model_fields), lineterminator="\n")
    table.writeheader()
    for entry in sorted(entries, key=lambda entry: entry.name):
        table.writerow({key: _cell(value) for key, value in entry.model_dump(mode="json").items()})
    write_text(text.getvalue(), folder / MANIFEST)
    return folder / MANIFEST


def read_manifest(folder: Path) -> list[Entry]:
    """The rows of ``folder/manifest.csv``; raises :class:`InputError` if it is missing or not as it was written.

    Names of cases become names of files: one that leads elsewhere, or is there twice, is refused.
    """
    path = folder / MANIFEST
    texts = {name for name, field in Entry.model_fields.items() if field.annotation is str} | {"split", "status"}
    entries: dict[str, Entry] = {}
    where = str(path)
    try:
        rows = CsvRows(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        if lacking := [name for name in Entry.model_fields if name not in (rows.fieldnames or [])]:
            raise ValueError(f"it has no column {lacking[0]}")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            cells = {key: cell if key in texts else json.loads(cell) for key, cell in row.items()}
            _refuse_name(cells.get("name"), entries, where)
            entry = Entry.model_validate(cells)
            entries[entry.name] = entry
    except InputError:
        raise
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read ({error.strerror}): give a folder that mics prepare has made."
        ) from error
    except (ValueError, TypeError, csv.Error, RecursionError) as error:
        what = first_problem(error) if isinstance(error, ValidationError) else error
        raise InputError(
            f"{where} is not a manifest of this version of MICS ({what}): undo what was changed by hand, or prepare the cases "
            "again."
        ) from error
    return list(entries.values())


def _refuse_name(name: str | None, others: Collection[str], where: str) -> None:
    """Files of a case are called after it: raises InputError where that leads elsewhere, or to another case's files."""
    if name is not None and not is_file_name(name):
        raise InputError(f"{where}: the case needs a name that can be part of a file's name, not {name[:200]!r}.")
    if name in others:
        raise InputError(f"{where}: the case {name} is there already; leave one of the two lines out.")


def moved(entry: Entry, folder: Path, other: Path) -> Entry:
    """A row of the manifest in ``folder`` for one in ``other``: the same files, found from there."""
    paths = {key: getattr(entry, key) for key in ("image", "labels") if getattr(entry, key)}
    return entry.model_copy(
        update={key: Path(os.path.relpath(folder / path, other)).as_posix() for key, path in paths.items()}
    )


def record_entry(entry: Entry, folder: Path, records: str, source: dict[str, Any]) -> None:
    """Keep the row of a case of ``folder``, with the ``source`` that it was made from, in ``records/NAME.json``."""
    record = {"entry": entry.model_dump(mode="json"), "source": source}
    write_text(json.dumps(record, indent=1) + "\n", folder / records / f"{entry.name}.json")


def recorded_entry(name: str, folder: Path, records: str, source: dict[str, Any]) -> Entry | None:
    """The row in the record of a case of ``folder``, if it was made from ``source`` and its files are there, else None."""
    try:
        record = json.loads((folder / records / f"{name}.json").read_text(encoding="utf-8"))
        entry = Entry.model_validate(record["entry"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    files = [folder / name for name in (entry.image, entry.labels) if name]
    return entry if record.get("source") == source and all(file.is_file() for file in files) else None


def reason(error: Exception) -> str:
    """Why a case is not there, for its row: on one line, and with its kind where it is nothing that a user can correct."""
    message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in. Raises :class:`InputError` if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error.strerror}); give another output folder.") from error


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
