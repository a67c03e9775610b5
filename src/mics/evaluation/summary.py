"""From the scores of pairs to those of a method, and from two methods to their difference."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mics.data.organs import ORGAN_NAMES
from mics.evaluation.pair import PairScore
from mics.evaluation.statistics import Difference, Estimate, bootstrap, paired_test, quantile30


@dataclass(frozen=True)
class Measure:
    """A number of a pair: how tables call it, and with how many decimals."""

    title: str
    decimals: int


MEASURES: dict[str, Measure] = {
    "dice": Measure("Dice", 3),
    "hd95_voxels": Measure("Hd95, voxels", 2),
    "hd95_mm": Measure("Hd95, mm", 2),
    "sd_log_jacobian": Measure("SdLogJ", 3),
    "fold_percent": Measure("voxels with J ≤ 0, %", 4),
    "nondiffeomorphic_percent": Measure("non-diffeomorphic volume, %", 4),
    "inverse_mean_mm": Measure("inverse error, mean, mm", 2),
    "inverse_max_mm": Measure("inverse error, largest, mm", 1),
    "landmark_mm": Measure("landmark error, mm", 2),
    "seconds": Measure("seconds", 1),
}
DICE30 = Measure("Dice30", 3)


@dataclass(frozen=True)
class OrganSummary:
    """One label over all pairs that show it: means, and how many pairs; ``lost`` of them lost it altogether."""

    name: str
    dice: Estimate
    hd95_voxels: Estimate
    hd95_mm: Estimate
    pairs: int
    lost: int


@dataclass(frozen=True)
class Summary:
    """A method over its pairs: means of every measure that all pairs have, Dice30, and every label."""

    pairs: int
    measures: dict[str, Estimate]
    dice30: Estimate | None
    organs: dict[int, OrganSummary]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON; infinite values are None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


def summarise(scores: Sequence[PairScore]) -> Summary:
    """Means over pairs with bootstrap intervals; a measure that a pair lacks is left out."""
    rows = [score.measures() for score in scores]
    columns = {key: [row[key] for row in rows] for key in MEASURES}
    complete = {key: [v for v in column if v is not None] for key, column in columns.items() if None not in column}
    measures = {key: bootstrap(column) for key, column in complete.items()}
    robust = bootstrap(complete["dice"], quantile30) if "dice" in complete else None
    labels = sorted({label for score in scores for label in score.dice})
    return Summary(len(scores), measures, robust, {label: _organ(label, scores) for label in labels})


def compare(first: Sequence[PairScore], second: Sequence[PairScore]) -> dict[str, Difference]:
    """The paired test of every measure that all pairs of both have; both lists are of the same pairs in one order."""
    differences = {}
    for key in MEASURES:
        columns = [[score.measures()[key] for score in scores] for scores in (first, second)]
        a, b = ([value for value in column if value is not None] for column in columns)
        if len(a) == len(b) == len(first):
            differences[key] = paired_test(a, b)
    return differences


def organ_name(label: int) -> str:
    """The organ's name, or the number of a label that is none of the thirteen."""
    return ORGAN_NAMES.get(label, f"label {label}")


def finite(value: Any) -> Any:
    """The same with None for what JSON does not know, infinity and NaN; keys become text."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _organ(label: int, scores: Sequence[PairScore]) -> OrganSummary:
    shown = [score for score in scores if label in score.dice]
    return OrganSummary(
        name=organ_name(label),
        dice=bootstrap([score.dice[label] for score in shown]),
        hd95_voxels=bootstrap([score.hd95_voxels[label] for score in shown]),
        hd95_mm=bootstrap([score.hd95_mm[label] for score in shown]),
        pairs=len(shown),
        lost=sum(not np.isfinite(score.hd95_mm[label]) for score in shown),
    )
