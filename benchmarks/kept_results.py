"""What benchmarks that go on where they were stopped have in common: their folder, and results that are kept in it."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mics.files.whole import write_text


def parser_with_folders(description: str | None) -> argparse.ArgumentParser:
    """Takes the data's folder and, as ``--output``, that of what is computed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of what is computed")
    return parser


def kept_rows(place: Path, variant: Any, compute: Callable[[], list[dict[str, float]]]) -> list[dict[str, float]]:
    """What lies at ``place`` for this variant, which JSON can hold, or else is computed and written there."""
    described = json.loads(json.dumps(variant))
    if place.exists():
        found = json.loads(place.read_text())
        if found.get("variant") == described:
            return list(found["rows"])
    rows = compute()
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(json.dumps({"variant": described, "rows": rows}, indent=1) + "\n", place)
    return rows
