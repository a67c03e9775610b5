"""What is found out about a finished registration, and the verdict on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mics.evaluation.landmarks import registration_errors
from mics.image.points import Points
from mics.registration.lesions import lesion_table, other_numbers
from mics.registration.quality import label_warnings, landmark_scores, landmark_warnings, measure
from mics.registration.result import Registration
from mics.registration.settings import Settings
from mics.registration.stage import State
from mics.registration.stage_order import refine_settings
from mics.registration.steering import Steering, others_alone
from mics.registration.summary import describe_geometry, quality_warnings
from mics.registration.verdict import Verdict, VerdictInputs, judge

_SHOWN_NAMES = 5


def findings(
    result: Registration,
    state: State,
    settings: Settings,
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
    numbering = label_warnings(result)
    scores = landmark_scores(result, landmarks)
    questions = [
        *quality_warnings(state.affine, geometry, measured["folds"]),
        *numbering,
        *disagreements,
        *other_names(meaning, measured["label_names"]),
        *landmark_warnings(result, landmarks),
        *other_numbers(state.scans, result.moving_to_fixed),
        *unmet_landmarks(result, landmarks, settings.steering),
    ]
    unled = None if numbering else others_alone(measured["labels"], settings.steering)
    inputs = VerdictInputs.model_validate(
        {
            "evidence": state.evidence,
            "inverse_consistency_mm": measured["inverse_consistency_mm"],
            "labels": unled,
        }
    )
    found = {
        "geometry": geometry,
        **measured,
        "landmarks": scores,
        "steering": _steering(settings),
        "lesions": lesion_table(state.scans, result.fixed_to_moving),
    }
    return found, judge(inputs, questions)


def other_names(meaning: Mapping[int, str], shown: Mapping[str, str]) -> list[str]:
    """A sentence where names are known, and none of them is of a label that the maps show."""
    if not meaning or shown:
        return []
    listed = ", ".join(f"{label} {name}" for label, name in sorted(meaning.items())[:_SHOWN_NAMES])
    more = f" and {len(meaning) - _SHOWN_NAMES} more" if len(meaning) > _SHOWN_NAMES else ""
    return [f"No label of the maps is among those that have a name ({listed}{more}): are the names of these maps?"]


def unmet_landmarks(
    result: Registration, landmarks: tuple[Points, Points] | None, steering: Steering | None
) -> list[str]:
    """A sentence where landmarks (fixed, moving) that were to be met are not, by either of the delivered transforms."""
    if landmarks is None or steering is None or steering.tolerance_mm is None:
        return []
    fixed, moving = landmarks
    there = registration_errors(result.moving_to_fixed.transform_points(fixed.coordinates), moving)
    back = registration_errors(result.fixed_to_moving.transform_points(moving.coordinates), fixed)
    largest = max(there.max(), back.max())
    if largest <= steering.tolerance_mm:
        return []
    count = len(there)
    unmet = "The landmark that steers is not" if count == 1 else f"Not all of the {count} landmarks that steer are"
    return [
        f"{unmet} met to {steering.tolerance_mm:g} mm, one is missed by {largest:.2f} mm: nearer the deformation would fold, or "
        "bend within a voxel of the scan, so look whether each is in its right place in both scans."
    ]


def _steering(settings: Settings) -> dict[str, Any] | None:
    """What steered, with its weights in the loss; None where nothing did."""
    steering = settings.steering
    if steering is None:
        return None
    weights = refine_settings(settings)
    return {
        "labels": {"ids": list(steering.labels), "weight": weights.labels} if steering.labels else None,
        "landmarks": {
            "count": steering.count,
            "weight_per_mm": weights.landmarks,
            "tolerance_mm": steering.tolerance_mm,
        }
        if steering.landmarks is not None
        else None,
    }
