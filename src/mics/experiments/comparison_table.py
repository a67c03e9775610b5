"""The table of a comparison, in the form of the paper's Table 4, with what the methods cost and the paper's own values."""

import csv
import io
import os
import platform
from typing import Any

import numpy as np

from mics.evaluation.pair_score import PairScore
from mics.evaluation.summary import MEASURES, compare, summarise
from mics.evaluation.tables import number, table
from mics.experiments.baselines.methods import METHODS, Choice
from mics.network.weights import DEFAULT_REGISTRATION, available_models

PAPER = {
    "Estienne 2021 (the predecessor)": ("0.64", "0.40", "37.1", "1.53"),
    "Mok 2020 (LapIRN)": ("0.67", "0.48", "36.5", "0.12"),
    "Heinrich 2013 (deeds)": ("0.51", "0.29", "39.8", "0.11"),
    "Heinrich and Hansen 2020": ("0.46", "0.22", "42.1", "0.43"),
    "MICS": ("0.66", "0.61", "38.8", "0.21"),
}
"""Dice, Dice30, HD95 in voxels and SdLogJ on the challenge's test set, by the script of 2020."""

_COLUMNS = ("dice", "hd95_voxels", "hd95_mm", "sd_log_jacobian", "fold_percent", "nondiffeomorphic_percent")
_OURS = "mics"


def markdown(records: list[dict[str, Any]]) -> str:
    """The finished cells as a table, one row a method and model, means over its pairs; below it the paper's table."""
    titles = ["method", "pairs", "Dice", "Dice30", "r", *(MEASURES[key].title for key in _COLUMNS[1:])]
    titles += ["inverse error, mean (largest), mm", "seconds", "affine seconds", "memory, GB", "p of Dice against MICS"]
    lines = table(titles, [_row(row, records) for row in _rows(records)])
    cores = os.cpu_count() or 1
    lines += [
        "",
        f"{platform.machine()}, {cores} cores. Means over pairs; p of Wilcoxon's signed-rank test on the same pairs. "
        "r = (1 − Dice) / (1 − Dice before the registration), of the means: it compares across splits.",
    ]
    if busy := sum(record["load_before"] > cores / 2 for record in records):
        lines.append(
            f"{busy} of {len(records)} cells began on a busy machine (load above half the cores): times are high."
        )
    lines += [
        "",
        "The paper's Table 4, on the challenge's hidden test set and by its script of 2020, so not to be compared",
    ]
    lines += ["number by number:", ""]
    lines += table(
        ["method", "Dice", "Dice30", "HD95, voxels", "SdLogJ"],
        [[name, *values] for name, values in PAPER.items()],
    )
    return "\n".join(lines) + "\n"


def to_csv(records: list[dict[str, Any]]) -> str:
    """One line a cell: every measure, and what it cost."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    costs = ("affine_seconds", "memory_gb", "gpu_memory_gb")
    writer.writerow(["method", "model", "fixed", "moving", *MEASURES, *costs])
    for record in records:
        values = [*_score(record).measures().values(), *(record[cost] for cost in costs)]
        names = [record[key] for key in ("method", "model", "fixed", "moving")]
        writer.writerow(["" if value is None else value for value in (*names, *values)])
    return text.getvalue()


def _row(row: Choice, records: list[dict[str, Any]]) -> list[str]:
    cells = _cells(row, records)
    scores = [_score(cell) for cell in cells]
    summary = summarise(scores)

    def value(key: str) -> str:
        estimate = summary.measures.get(key)
        return number(None if estimate is None else estimate.value, MEASURES[key].decimals)

    dice30 = number(None if summary.dice30 is None else summary.dice30.value, 3)
    ratio = number(None if summary.ratio is None else summary.ratio.value, 3)
    columns = [
        *(_title(row, records), str(len(cells)), value("dice"), dice30, ratio),
        *(value(key) for key in _COLUMNS[1:]),
    ]
    largest = [score.inverse_max_mm for score in scores if score.inverse_max_mm is not None]
    columns.append(f"{value('inverse_mean_mm')} ({max(largest):.1f})" if largest else "–")
    columns += [value("seconds"), *(_mean(cells, key) for key in ("affine_seconds", "memory_gb"))]
    return [*columns, _p(row, records)]


def _title(row: Choice, records: list[dict[str, Any]]) -> str:
    """The method's, with the model where the method is there with several, or with another shipped one than the default."""
    title = METHODS[row.method].title
    others = {model["name"] for model in available_models()} - {DEFAULT_REGISTRATION}
    if sum(other.method == row.method for other in _rows(records)) == 1 and row.model not in others:
        return title
    return f"{title}: {row.model or DEFAULT_REGISTRATION}"


def _mean(cells: list[dict[str, Any]], key: str) -> str:
    values = [cell[key] for cell in cells if cell[key] is not None]
    return number(float(np.mean(values)) if values else None, 1)


def _p(row: Choice, records: list[dict[str, Any]]) -> str:
    """Of the difference in Dice from ours (with several models, the first), on the pairs that both have."""
    ours = next((other for other in _rows(records) if other.method == _OURS), None)
    if ours is None or row == ours:
        return "–"
    by_pair = [{(r["fixed"], r["moving"]): _score(r) for r in _cells(one, records)} for one in (row, ours)]
    both = [pair for pair in by_pair[0] if pair in by_pair[1]]
    if not both:
        return "–"
    difference = compare(*([scores[pair] for pair in both] for scores in by_pair)).get("dice")
    return "–" if difference is None else f"{difference.p:.2g}"


def _rows(records: list[dict[str, Any]]) -> list[Choice]:
    """What was compared: methods in our order, the models of each in that of the records."""
    found = dict.fromkeys(Choice(record["method"], record["model"]) for record in records)
    return sorted(found, key=lambda row: list(METHODS).index(row.method))


def _cells(row: Choice, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if (record["method"], record["model"]) == (row.method, row.model)]


def _score(record: dict[str, Any]) -> PairScore:
    return PairScore.from_dict(record["score"])
