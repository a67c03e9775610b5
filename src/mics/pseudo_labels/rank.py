"""How plausible the pseudo-labels of a case are, organ by organ, in comparison with everybody's.

All cases lie in one frame, so an organ of a case is compared with that organ of the others. Five factors between 0 and 1, whose
product is the score:

- volume: z of the logarithm of the organ's volume, ``1 / (1 + (z / 3)²)``
- position: the same of the distance of its centre from where the organ usually is
- parts: the share of the predicted voxels that the largest part has
- confidence: the network's mean probability in the organ
- agreement: Dice of the prediction with what was annotated in that case, mean over the annotated organs

z is the distance from the median of all cases over the robust standard deviation (from the median of all distances), to which
15 % of volume or 8 mm of place are added, so that a few equal cases do not make all others outliers.
"""

import csv
import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mics.organs import ORGAN_NAMES

FACTORS = ("volume", "position", "parts", "confidence", "agreement")

_MIN_CASES = 4
_MIN_LOG_VOLUME, _MIN_MM = 0.15, 8.0
_HALF_AT = 3.0
_NORMAL = {1: 1.4826, 3: 0.6502}
"""By dimension: standard deviation of a normal distribution over the median distance from its centre."""


class OrganStatistics(BaseModel):
    """One organ in one case. ``parts`` and ``confidence`` are those of a prediction; annotations have none."""

    model_config = ConfigDict(frozen=True)

    volume_ml: float
    centre_mm: tuple[float, float, float] | None
    parts: float = 1.0
    confidence: float = 1.0
    predicted: bool = False


class Plausibility(NamedTuple):
    """Score of a predicted organ of a case, and its factors by name."""

    score: float
    factors: dict[str, float]

    @property
    def weakest_factor(self) -> str:
        """The factor that speaks most against it."""
        return min(self.factors, key=lambda name: self.factors[name])


def rank(
    cases: Mapping[str, Mapping[int, OrganStatistics]], agreement: Mapping[str, float]
) -> dict[tuple[str, int], Plausibility]:
    """Plausibility of every predicted organ, ``{(case, organ): ...}``, worst first.

    ``cases`` holds what was annotated and what was predicted, ``{case: {organ: ...}}``; ``agreement`` the Dice with the
    annotation of those cases that have one. An organ that was not found has the score 0.
    """
    scores = {}
    for organ in sorted({organ for organs in cases.values() for organ in organs}):
        found = {name: organs[organ] for name, organs in cases.items() if organ in organs}
        present = {name: statistics for name, statistics in found.items() if statistics.centre_mm is not None}
        volumes = _deviations(np.log([[statistics.volume_ml] for statistics in present.values()]), _MIN_LOG_VOLUME)
        places = _deviations(np.array([statistics.centre_mm for statistics in present.values()]), _MIN_MM)
        unusual = dict(zip(present, zip(volumes, places, strict=True), strict=True))
        for name, statistics in found.items():
            if statistics.predicted:
                scores[name, organ] = _plausibility(statistics, unusual.get(name), agreement.get(name, 1.0))
    return dict(sorted(scores.items(), key=lambda item: (item[1].score, item[0])))


def as_csv(scores: Mapping[tuple[str, int], Plausibility]) -> str:
    """The ranking as CSV, in its order."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("case", "organ", "score", "because of", *FACTORS))
    for (name, organ), found in scores.items():
        values = [f"{found.factors[factor]:.3f}" if factor in found.factors else "" for factor in FACTORS]
        table.writerow((name, ORGAN_NAMES[organ], f"{found.score:.3f}", found.weakest_factor, *values))
    return text.getvalue()


def _plausibility(statistics: OrganStatistics, unusual: tuple[float, float] | None, agreement: float) -> Plausibility:
    if unusual is None:
        return Plausibility(0.0, {"found": 0.0})
    values = (_factor(unusual[0]), _factor(unusual[1]), statistics.parts, statistics.confidence, agreement)
    factors = dict(zip(FACTORS, values, strict=True))
    return Plausibility(float(np.prod(list(factors.values()))), factors)


def _deviations(values: NDArray[np.float64], least: float) -> list[float]:
    """Distance of each row from the median of all, in robust standard deviations; 0 where there are too few to tell."""
    if len(values) < _MIN_CASES:
        return [0.0] * len(values)
    distances = np.linalg.norm(values - np.median(values, axis=0), axis=1)
    deviations: list[float] = (distances / (_NORMAL[values.shape[1]] * np.median(distances) + least)).tolist()
    return deviations


def _factor(deviation: float) -> float:
    return 1 / (1 + (deviation / _HALF_AT) ** 2)
