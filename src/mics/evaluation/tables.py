"""An evaluation as CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mics.data.label_names import label_name
from mics.evaluation.statistics import Difference, Estimate
from mics.evaluation.summary import DICE30, INITIAL, MEASURES, RATIO, Summary, finite

if TYPE_CHECKING:
    from mics.evaluation.evaluate import Evaluation


_RESPLIT = " By the public re-split: at 4 mm, thirteen organs a pair, an absent one with Dice 0."


def pairs_csv(evaluation: Evaluation) -> str:
    """One line a pair, all measures; empty where there is none."""
    rows = [[*names, *score.measures().values()] for names, score in _scored_pairs(evaluation)]
    return _csv(["fixed", "moving", *MEASURES], rows)


def organs_csv(evaluation: Evaluation) -> str:
    """One line a pair and organ."""
    rows = [
        [
            *names,
            label,
            label_name(label, evaluation.label_names),
            score.dice[label],
            score.hd95_voxels.get(label),
            score.hd95_mm.get(label),
            score.mda_mm.get(label),
        ]
        for names, score in _scored_pairs(evaluation)
        for label in score.dice
    ]
    return _csv(["fixed", "moving", "label", "organ", "dice", "hd95_voxels", "hd95_mm", "mda_mm"], rows)


def to_json(evaluation: Evaluation) -> str:
    """Everything, for programs; infinite distances are null."""
    content = {
        "submission": evaluation.submission,
        "resplit": evaluation.resplit,
        "pairs": [
            {"fixed": fixed, "moving": moving, **score.to_dict()}
            for (fixed, moving), score in _scored_pairs(evaluation)
        ],
        "summary": evaluation.summary.to_dict(),
        "label_names": evaluation.label_names,
        "warnings": evaluation.warnings,
        "against": evaluation.other,
        "differences": {name: asdict(difference) for name, difference in evaluation.differences.items()},
    }
    return json.dumps(finite(content), indent=2, allow_nan=False) + "\n"


def markdown(evaluation: Evaluation) -> str:
    """The summary for people: measures, organs, and the difference from another submission."""
    summary = evaluation.summary
    rows = [(_title(key, summary), MEASURES[key].decimals, value) for key, value in summary.measures.items()]
    more = [(DICE30, summary.dice30), (INITIAL, summary.initial_dice), (RATIO, summary.ratio)]
    rows[1:1] = [(measure.title, measure.decimals, value) for measure, value in more if value is not None]
    lines = [
        f"# {evaluation.submission}",
        "",
        f"{summary.pairs} pairs; in brackets the 95 % bootstrap interval over pairs.{_RESPLIT * evaluation.resplit}",
        "",
    ]
    lines += [f"Look twice: {sentence}\n" for sentence in evaluation.warnings]
    lines += table(["measure", "mean"], [[title, interval(value, decimals)] for title, decimals, value in rows])
    lines += [
        "",
        *table(["organ", "pairs", "lost", "Dice", "HD95, voxels", "HD95, mm", "MDA, mm"], _organ_rows(evaluation)),
    ]
    if evaluation.other is not None:
        lines += ["", f"## Difference from {evaluation.other}", ""]
        lines += ["This submission minus the other, pair by pair; p of Wilcoxon's signed-rank test, two-sided.", ""]
        lines += table(["measure", "mean difference", "p"], _difference_rows(evaluation.differences))
    return "\n".join(lines) + "\n"


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


def _title(key: str, summary: Summary) -> str:
    count = summary.counts.get(key)
    return MEASURES[key].title if count is None else f"{MEASURES[key].title} ({count} of {summary.pairs} pairs)"


def _organ_rows(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            o.name,
            str(o.pairs),
            str(o.lost),
            interval(o.dice, 3),
            interval(o.hd95_voxels, 2),
            interval(o.hd95_mm, 2),
            interval(o.mda_mm, 2),
        ]
        for o in evaluation.summary.organs.values()
    ]


def _difference_rows(differences: dict[str, Difference]) -> list[list[str]]:
    return [
        [MEASURES[key].title, interval(d.estimate, MEASURES[key].decimals), f"{d.p:.2g}"]
        for key, d in differences.items()
    ]


def _scored_pairs(evaluation: Evaluation) -> list[tuple[tuple[str, str], Any]]:
    return list(zip(evaluation.pairs, evaluation.scores, strict=True))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _csv(titles: list[str], rows: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()
