"""``results.csv``: a row a pair, with its verdict and every measure."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mics.batch.listing import ListedPair
from mics.report.summary_text import fold_percentage, inverse_error, jacobian_range, moving_label_scores
from mics.run_summary import RunSummary

_FIRST = ("fixed", "moving", "verdict", "error", "reasons", "warnings")


@dataclass(frozen=True)
class PairOutcome:
    """What became of a pair: the ``summary`` of a registration, or in a sentence why there is none."""

    pair: ListedPair
    summary: RunSummary | None = None
    error: str | None = None

    @property
    def verdict(self) -> str | None:
        """good, look or failed; None for a pair that could not be registered."""
        return None if self.summary is None or self.summary.verdict is None else self.summary.verdict.word


def results_csv(outcomes: Sequence[PairOutcome]) -> str:
    """The table as text; what is not known of a pair is empty."""
    rows = [_row(outcome) for outcome in outcomes]
    columns = list(dict.fromkeys([*_FIRST, *(column for row in rows for column in row)]))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _row(outcome: PairOutcome) -> dict[str, Any]:
    row: dict[str, Any] = {"fixed": outcome.pair.fixed, "moving": outcome.pair.moving}
    summary = outcome.summary
    if summary is None:
        return {**row, "error": outcome.error}
    least, largest = jacobian_range(summary) or (None, None)
    mean, most = inverse_error(summary) or (None, None)
    stored = summary.stored_transforms or {}
    return {
        **row,
        "verdict": outcome.verdict,
        "reasons": "" if summary.verdict is None else " ".join(summary.verdict.reasons),
        "warnings": " ".join(summary.warnings),
        **_labels(summary),
        **_landmarks(summary),
        **_evidence(summary),
        "folds_percent": fold_percentage(summary),
        "jacobian_min": least,
        "jacobian_max": largest,
        "inverse_error_mean_mm": mean,
        "inverse_error_max_mm": most,
        "seconds": summary.total_seconds,
        **{
            column: value
            for direction, file in stored.items()
            for column, value in (
                (f"bytes_{direction}", file.bytes),
                (f"largest_error_mm_{direction}", file.largest_error_mm),
            )
        },
    }


def _labels(summary: RunSummary) -> dict[str, Any]:
    """Of the moving labels on the fixed grid."""
    scores = moving_label_scores(summary)
    if scores is None:
        return {}
    by_label = (("dice", scores.dice), ("hd95_mm", scores.hd95_mm), ("mda_mm", scores.mda_mm))
    return {
        "mean_dice": scores.mean_dice,
        "mean_dice_affine_only": scores.mean_dice_affine_only,
        "worst_label": scores.worst_label,
        **{f"{measure}_{label}": value for measure, values in by_label for label, value in values.items()},
    }


def _landmarks(summary: RunSummary) -> dict[str, Any]:
    scores = summary.landmarks
    if scores is None:
        return {}
    return {
        "tre_mean_mm": scores.tre_mm.mean,
        "tre_max_mm": scores.tre_mm.max,
        "tre_mean_mm_affine_only": scores.tre_mm_affine_only.mean,
    }


def _evidence(summary: RunSummary) -> dict[str, Any]:
    """How well the organs that the network finds overlap, and the tissue fits; before and after."""
    evidence = summary.evidence
    if evidence is None:
        return {}
    return {
        "organ_overlap": evidence.organ_overlap.result,
        "organ_overlap_affine_only": evidence.organ_overlap.affine,
        "similarity": evidence.similarity.result,
        "similarity_affine_only": evidence.similarity.affine,
    }
