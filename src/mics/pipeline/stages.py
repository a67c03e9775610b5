"""A stage of the pipeline that is run once for the same input."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mics.data.manifest import read_manifest
from mics.files.whole import write_text

DONE = "stage.json"


def once(
    name: str, output: Path, inputs: dict[str, Any], work: Callable[[Path], Any], progress: Callable[[str], None]
) -> Path:
    """Do ``work`` in a folder of ``output`` named after the stage and its ``inputs``, unless that has been done; returns it.

    Other inputs are another folder: nothing is overwritten, and what was stopped half-way is found again. ``inputs`` is fit
    for JSON and holds all that the result depends on.
    """
    text = json.dumps(inputs, sort_keys=True, indent=1)
    folder = output / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if (folder / DONE).is_file():
        progress(f"{name}: current, in {folder}")
        return folder
    progress(f"{name}: in {folder}")
    work(folder)
    write_text(text + "\n", folder / DONE)
    return folder


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def state(folder: Path) -> str:
    """Changes with what a training sees of the folder of a manifest: its subjects, their split, organs, volumes and labels."""
    found = hashlib.sha256()
    for row in read_manifest(folder):
        if row.status == "prepared":
            files = [digest(folder / file) for file in (row.image, row.labels) if file]
            found.update(json.dumps([row.name, row.split, row.organs, row.pseudo_organs, files]).encode())
    return found.hexdigest()
