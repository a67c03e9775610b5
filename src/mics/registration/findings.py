"""What is found out about a finished registration, and the verdict on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mics.image.points import Points
from mics.registration.quality import label_doubts, landmark_doubts, landmark_scores, measure
from mics.registration.result import Registration
from mics.registration.stage import State
from mics.registration.summary import describe_geometry, doubts
from mics.registration.verdict import Verdict, judge


def findings(
    result: Registration,
    state: State,
    *,
    meaning: Mapping[int, str],
    disagreements: Sequence[str],
    landmarks: tuple[Points, Points] | None,
) -> tuple[dict[str, Any], Verdict]:
    """Parts of the summary, by key, and the verdict that follows from them.

    ``meaning`` and ``disagreements`` as of :func:`mics.registration.inputs.meaning_of_labels`; ``landmarks`` fixed, then moving.
    """
    geometry = describe_geometry(state)
    measured = measure(result, state.field, meaning)
    numbering = label_doubts(result)
    questions = [
        *doubts(state.affine, geometry, measured["folds"]),
        *numbering,
        *disagreements,
        *landmark_doubts(result, landmarks),
    ]
    judged = {**measured, "evidence": state.evidence, "labels": None if numbering else measured["labels"]}
    found = {"geometry": geometry, **measured, "landmarks": landmark_scores(result, landmarks)}
    return found, judge(judged, questions)
