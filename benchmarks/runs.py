"""What benchmarks that train networks read of a finished run."""

import csv
from pathlib import Path


def last_validation(run: Path) -> dict[str, float]:
    """Scores of the last validation of a run by their names in its curves, which begin with ``val/``."""
    rows = [row for path in sorted(run.glob("curves/*/metrics.csv")) for row in csv.DictReader(path.open())]
    last = [row for row in rows if row.get("val/dice")][-1]
    return {name: float(value) for name, value in last.items() if name.startswith("val/") and value}
