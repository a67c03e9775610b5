"""From the scores of pairs to those of a method, and from two methods to their difference."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mics.data.label_names import label_name
from mics.evaluation.pair_score import PairScore
from mics.evaluation.statistics import Difference, Estimate, Values, bootstrap, paired_test, quantile30


@dataclass(frozen=True)
class Measure:
    """A number of a pair: how tables call it, and with how many decimals."""

    title: str
    decimals: int


MEASURES: dict[str, Measure] = {
    "dice": Measure("Dice", 3),
    "hd95_voxels": Measure("HD95, voxels", 2),
    "hd95_mm": Measure("HD95, mm", 2),
    "mda_mm": Measure("MDA, mm", 2),
    "sd_log_jacobian": Measure("SdLogJ", 3),
    "jacobian_min": Measure("smallest J", 2),
    "jacobian_max": Measure("largest J", 2),
    "fold_percent": Measure("voxels with J ≤ 0, %", 4),
    "nondiffeomorphic_percent": Measure("non-diffeomorphic volume, %", 4),
    "inverse_mean_mm": Measure("inverse error, mean, mm", 2),
    "inverse_max_mm": Measure("inverse error, largest, mm", 1),
    "landmark_mm": Measure("TRE, mean, mm", 2),
    "landmark_max_mm": Measure("TRE, largest, mm", 2),
    "seconds": Measure("seconds", 1),
}
DICE30 = Measure("Dice30", 3)
INITIAL = Measure("Dice before", 3)
RATIO = Measure("r = (1 − Dice) / (1 − Dice before)", 3)


@dataclass(frozen=True)
class OrganSummary:
    """One label over all pairs that show it: means, and how many pairs; ``lost`` of them lost it altogether."""

    name: str
    dice: Estimate
    hd95_voxels: Estimate
    hd95_mm: Estimate
    mda_mm: Estimate
    pairs: int
    lost: int


@dataclass(frozen=True)
class Summary:
    """A method over its pairs: means of every measure, Dice30, and every label.

    ``counts``: how many pairs have the measure, where it is not all of them (landmarks of some pairs only, say).
    """

    pairs: int
    measures: dict[str, Estimate]
    counts: dict[str, int]
    dice30: Estimate | None
    organs: dict[int, OrganSummary]
    initial_dice: Estimate | None = None
    """Mean Dice before the registration."""
    ratio: Estimate | None = None
    """r, the share of the Dice that was lacking before which is lacking after, of the means; it compares across splits."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON; infinite values are None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


def summarise(scores: Sequence[PairScore], names: Mapping[int, str] = MappingProxyType({})) -> Summary:
    """Means over the pairs that have a measure, with bootstrap intervals; one that no pair has is left out.

    ``names``: what the labels mean, as far as it is known.
    """
    columns = {key: [v for score in scores if (v := score.measures()[key]) is not None] for key in MEASURES}
    columns = {key: column for key, column in columns.items() if column}
    gaps = np.array([_gaps(score) for score in scores if score.dice and score.initial_dice]).reshape(-1, 2)
    return Summary(
        pairs=len(scores),
        measures={key: bootstrap(column) for key, column in columns.items()},
        counts={key: len(column) for key, column in columns.items() if len(column) < len(scores)},
        dice30=bootstrap(columns["dice"], quantile30) if "dice" in columns else None,
        organs={
            label: _organ(label_name(label, names), label, scores)
            for label in sorted({label for s in scores for label in s.dice})
        },
        initial_dice=bootstrap((1 - gaps[:, 1]).tolist()) if len(gaps) else None,
        ratio=bootstrap(list(range(len(gaps))), lambda pairs: _ratio(gaps, pairs)) if gaps[:, 1].any() else None,
    )


def _gaps(score: PairScore) -> tuple[float, float]:
    """What mean Dice lacks of 1 after the registration and before it."""
    after, before = (1 - float(np.mean(list(found.values()))) for found in (score.dice, score.initial_dice))
    return after, before


def _ratio(gaps: Values, pairs: Values) -> Values:
    """r of the pairs of these numbers, along the last axis; NaN where nothing was lacking."""
    after, before = (gaps[:, column][pairs.astype(int)].mean(axis=-1) for column in (0, 1))
    ratio: Values = np.divide(after, before, out=np.full_like(after, np.nan), where=before > 0)
    return ratio


def compare(first: Sequence[PairScore], second: Sequence[PairScore]) -> dict[str, Difference]:
    """The paired test of every measure, on the pairs that have it in both; both lists are of the same pairs in one order."""
    differences = {}
    for key in MEASURES:
        both = [(a.measures()[key], b.measures()[key]) for a, b in zip(first, second, strict=True)]
        found = [(a, b) for a, b in both if a is not None and b is not None]
        if found:
            differences[key] = paired_test(*zip(*found, strict=True))
    return differences


def finite(value: Any) -> Any:
    """The same with None for what JSON does not know, infinity and NaN; keys become text."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _organ(name: str, label: int, scores: Sequence[PairScore]) -> OrganSummary:
    shown = [score for score in scores if label in score.dice]
    return OrganSummary(
        name=name,
        dice=bootstrap([score.dice[label] for score in shown]),
        hd95_voxels=_distances([score.hd95_voxels.get(label) for score in shown]),
        hd95_mm=_distances([score.hd95_mm.get(label) for score in shown]),
        mda_mm=_distances([score.mda_mm.get(label) for score in shown]),
        pairs=len(shown),
        lost=sum(not np.isfinite(score.hd95_mm.get(label, 0.0)) for score in shown),
    )


def _distances(found: Sequence[float | None]) -> Estimate:
    """Over the pairs that have one; NaN where none has, as of an organ that is absent and counted all the same."""
    known = [value for value in found if value is not None]
    return bootstrap(known) if known else Estimate(np.nan, None, None)
