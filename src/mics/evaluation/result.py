"""What an evaluation has measured, and its files: CSV, Markdown and JSON."""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mics.data.label_names import label_name
from mics.errors import counted
from mics.evaluation.pair_score import PairScore
from mics.evaluation.statistics import Difference
from mics.evaluation.summary import DICE30, INITIAL, MEASURES, RATIO, Summary, finite
from mics.evaluation.tables import csv_text, interval, table
from mics.files.folder import usable_folder, write_together
from mics.files.whole import write_text

_RESPLIT = " By the public re-split: at 4 mm, thirteen organs a pair, an absent one with Dice 0."


@dataclass(frozen=True)
class Evaluation:
    """The scores of a submission: of every pair, of every organ, of all; and its difference from another one.

    ``pairs`` are (fixed, moving) names in the list's order, as are ``scores`` and ``other_scores``. ``differences`` is this
    submission minus the other, by measure. ``label_names``: what the labels mean, as far as it is known. ``resplit``: whether
    it was measured by :mod:`mics.evaluation.resplit`.
    """

    submission: str
    pairs: list[tuple[str, str]]
    scores: list[PairScore]
    summary: Summary
    warnings: list[str]
    label_names: dict[int, str] = field(default_factory=dict)
    other: str | None = None
    other_scores: list[PairScore] = field(default_factory=list)
    differences: dict[str, Difference] = field(default_factory=dict)
    resplit: bool = False

    def __repr__(self) -> str:
        against = "" if self.other is None else f", against {self.other}"
        return f"Evaluation({self.submission}, pairs: {len(self.pairs)}{against})"

    def save(self, folder: str | Path) -> None:
        """Write ``pairs.csv``, ``organs.csv``, ``summary.md`` and ``summary.json``, all of them or none.

        Args:
            folder: A new or empty one.

        Raises:
            InputError: If the folder is not empty or cannot be written.
        """
        texts = {
            "pairs.csv": _pairs_csv(self),
            "organs.csv": _organs_csv(self),
            "summary.md": _markdown(self),
            "summary.json": _json(self),
        }
        writers = {name: partial(write_text, text) for name, text in texts.items()}
        write_together(usable_folder(folder), writers)


def _pairs_csv(evaluation: Evaluation) -> str:
    """One line a pair, all measures; empty where there is none."""
    rows = [[*names, *score.measures().values()] for names, score in _scored_pairs(evaluation)]
    return csv_text(["fixed", "moving", *MEASURES], rows)


def _organs_csv(evaluation: Evaluation) -> str:
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
    return csv_text(["fixed", "moving", "label", "organ", "dice", "hd95_voxels", "hd95_mm", "mda_mm"], rows)


def _json(evaluation: Evaluation) -> str:
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


def _markdown(evaluation: Evaluation) -> str:
    """The summary to read: measures, organs, and the difference from another submission."""
    summary = evaluation.summary
    rows = [(_title(key, summary), MEASURES[key].decimals, value) for key, value in summary.measures.items()]
    more = [(DICE30, summary.dice30), (INITIAL, summary.initial_dice), (RATIO, summary.ratio)]
    rows[1:1] = [(measure.title, measure.decimals, value) for measure, value in more if value is not None]
    lines = [
        f"# {evaluation.submission}",
        "",
        f"{counted(summary.pairs, 'pair')}; in brackets the 95 % bootstrap interval over pairs.{_RESPLIT * evaluation.resplit}",
        "",
    ]
    lines += [f"Look twice: {message}\n" for message in evaluation.warnings]
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
