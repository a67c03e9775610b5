"""``results.csv``: a row a pair, with its verdict and every measure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mics.batch.listing import ListedPair
from mics.report.summary import fold_percentage, inverse_error, jacobian_range

_FIRST = ("fixed", "moving", "verdict", "error", "reasons", "warnings")
_BY_LABEL = ("dice", "hd95_mm", "mda_mm")


@dataclass(frozen=True)
class Outcome:
    """What became of a pair: the ``summary`` of a registration, or in a sentence why there is none."""

    pair: ListedPair
    summary: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def verdict(self) -> str | None:
        """good, look or failed; None for a pair that could not be registered."""
        return None if self.summary is None else str(self.summary["verdict"]["word"])


def results_csv(outcomes: Sequence[Outcome]) -> str:
    """The table as text; what is not known of a pair is empty."""
    rows = [_row(outcome) for outcome in outcomes]
    columns = list(dict.fromkeys([*_FIRST, *(column for row in rows for column in row)]))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _row(outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"fixed": outcome.pair.fixed, "moving": outcome.pair.moving}
    summary = outcome.summary
    if summary is None:
        return {**row, "error": outcome.error}
    least, largest = jacobian_range(summary)
    inverse = inverse_error(summary)
    return {
        **row,
        "verdict": outcome.verdict,
        "reasons": " ".join(summary["verdict"]["reasons"]),
        "warnings": " ".join(summary["warnings"]),
        **_labels(summary),
        **_landmarks(summary),
        **_evidence(summary),
        "folds_percent": fold_percentage(summary),
        "jacobian_min": least,
        "jacobian_max": largest,
        "inverse_error_mean_mm": None if inverse is None else inverse[0],
        "inverse_error_max_mm": None if inverse is None else inverse[1],
        "seconds": summary["seconds"]["total"],
        **{
            f"{measure}_{way}": stored[measure]
            for way, stored in (summary.get("stored_transforms") or {}).items()
            for measure in ("bytes", "largest_error_mm")
        },
    }


def _labels(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of the moving labels on the fixed grid."""
    if summary["labels"] is None:
        return {}
    scores = summary["labels"]["moving_to_fixed"]
    return {
        "mean_dice": scores["mean_dice"],
        "mean_dice_affine_only": scores["mean_dice_affine_only"],
        "worst_label": scores["worst_label"],
        **{f"{measure}_{label}": value for measure in _BY_LABEL for label, value in scores[measure].items()},
    }


def _landmarks(summary: Mapping[str, Any]) -> dict[str, Any]:
    if summary["landmarks"] is None:
        return {}
    scores = summary["landmarks"]
    return {
        "tre_mean_mm": scores["tre_mm"]["mean"],
        "tre_max_mm": scores["tre_mm"]["max"],
        "tre_mean_mm_affine_only": scores["tre_mm_affine_only"]["mean"],
    }


def _evidence(summary: Mapping[str, Any]) -> dict[str, Any]:
    """How well the organs that the network finds overlap, and the tissue fits; before and after."""
    evidence = summary["evidence"]
    if evidence is None:
        return {}
    return {
        f"{key}{ending}": evidence[key][when]
        for key in ("organ_overlap", "similarity")
        for when, ending in (("result", ""), ("affine", "_affine_only"))
    }
