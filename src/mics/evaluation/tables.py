"""Tables as CSV and Markdown."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from mics.evaluation.statistics import Estimate


def csv_text(titles: list[str], rows: Iterable[list[Any]]) -> str:
    """Lines of a CSV table; empty where there is None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def table(titles: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [_row(titles), "|---" * len(titles) + "|", *(_row(row) for row in rows)]


def interval(estimate: Estimate, decimals: int) -> str:
    """``0.591 (0.560 to 0.611)``, the limits left out where there are none."""
    text = number(estimate.value, decimals)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({number(estimate.low, decimals)} to {number(estimate.high, decimals)})"


def number(value: float | None, decimals: int) -> str:
    """A number for a table; a dash where there is none, ``inf`` where an organ was lost."""
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.{decimals}f}" if np.isfinite(value) else "inf"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
