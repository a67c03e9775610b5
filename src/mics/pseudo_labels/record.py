"""What is kept of each case, so that neither a prediction nor completed labels are made twice."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel

from mics.data.manifest import Entry
from mics.files.whole import write_text
from mics.network.weights import LoadedModel
from mics.pseudo_labels.rank import OrganStatistics

PREDICTED = "predicted"


class CaseRecord(BaseModel):
    """What is known of one case: by which model and files (``key``), and which organs are in its completed labels."""

    key: str
    organs: dict[int, OrganStatistics]
    agreement: float | None = None
    completed: tuple[int, ...] | None = None


def key_of(prepared: Path, entry: Entry, model: LoadedModel) -> str:
    """What changes with the model, the prepared files, and what was annotated."""
    digest = hashlib.sha256(f"{model.sha256} {entry.organs}".encode())
    for file in (entry.image, entry.labels):
        if file:
            digest.update((prepared / file).read_bytes())
    return digest.hexdigest()


def read_record(output: Path, name: str) -> CaseRecord | None:
    """The record of a case; None where there is none, or none that can be read."""
    try:
        return CaseRecord.model_validate(json.loads((output / PREDICTED / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def write_record(output: Path, name: str, record: CaseRecord) -> None:
    """Write the record of a case, whole or not at all."""
    write_text(record.model_dump_json(indent=1) + "\n", output / PREDICTED / f"{name}.json")
