"""What a user asks to steer the refinement: labels and landmarks of both scans, looked up and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mics.errors import InputError, SettingError, require_type, shown, some_of
from mics.evaluation.landmarks import outside
from mics.image.points import Points
from mics.registration.inputs import Scan
from mics.registration.pair import Pair

LABELS, LANDMARKS = "labels", "landmarks"


@dataclass(frozen=True, kw_only=True, eq=False)
class Steering:
    """``labels``: ids that both label maps hold. ``landmarks``: of both scans, in LPS mm, matched by their order.

    ``tolerance_mm``: how near each landmark is to come to its counterpart; None where they are one term among others.
    """

    labels: tuple[int, ...] = ()
    landmarks: Pair[Points] | None = None
    tolerance_mm: float | None = None

    @property
    def count(self) -> int:
        """Number of the landmarks that steer."""
        return 0 if self.landmarks is None else len(self.landmarks.fixed.coordinates)


def what_steers(
    steer: Sequence[str | int],
    tolerance_mm: float | None,
    *,
    scans: Pair[Scan],
    meaning: Mapping[int, str],
    landmarks: tuple[Points, Points] | None,
) -> Steering | None:
    """What ``steer`` asks for, of what is given of both scans; None where nothing is to steer.

    Args:
        steer: ``"labels"`` (all that both label maps hold), ``"landmarks"``, and single labels by id or name.
        tolerance_mm: Of the landmarks.
        scans: With their label maps.
        meaning: Names of labels, by id.
        landmarks: Of the fixed, then of the moving scan.

    Raises InputError for what is not given of both scans, for unknown labels, and for landmarks outside of their scan.
    """
    steer = refuse_unfit_steering(steer, tolerance_mm)
    labels = _labels([item for item in steer if item != LANDMARKS], scans, meaning)
    led = _landmarks(landmarks, scans) if LANDMARKS in steer else None
    if not labels and led is None:
        return None
    return Steering(labels=labels, landmarks=led, tolerance_mm=None if tolerance_mm is None else float(tolerance_mm))


def refuse_unfit_steering(steer: Sequence[str | int], tolerance_mm: float | None) -> Sequence[str | int]:
    """What steers, as a list; InputError for what is none, as far as it shows without the scans."""
    if isinstance(steer, str):
        steer = (steer,)
    require_type(steer, (list, tuple), "What steers is a list of labels, landmarks and single labels")
    if tolerance_mm is not None:
        require_type(tolerance_mm, (int, float, np.floating), "The tolerance of the landmarks is a number of mm")
        if LANDMARKS not in steer:
            raise SettingError(
                'A tolerance is for landmarks that steer: use `steer="landmarks"` with it.', option="steer"
            )
        if not 0 < tolerance_mm < float("inf"):
            raise SettingError(f"The tolerance of the landmarks is a number of mm above 0, not {shown(tolerance_mm)}.")
    return steer


def others_alone(labels: dict[str, Any] | None, steering: Steering | None) -> dict[str, Any] | None:
    """The scores of the summary's ``labels`` without those that steered, which cannot also judge; None where none is left."""
    if labels is None or steering is None or not steering.labels:
        return labels
    steered = {str(label) for label in steering.labels}
    others = {direction: _without(scores, steered) for direction, scores in labels.items()}
    return others if any(scores["dice"] for scores in others.values()) else None


def _without(scores: Mapping[str, Any], steered: set[str]) -> dict[str, Any]:
    rest: dict[str, Any] = {
        measure: {label: value for label, value in values.items() if label not in steered}
        for measure, values in scores.items()
        if isinstance(values, dict)
    }
    for mean, measure in (("mean_dice", "dice"), ("mean_dice_affine_only", "dice_affine_only")):
        rest[mean] = round(float(np.mean(list(rest[measure].values()))), 4) if rest[measure] else None
    return {**rest, "worst_label": min(rest["dice"], key=rest["dice"].get, default=None)}


def _labels(wanted: Sequence[str | int], scans: Pair[Scan], meaning: Mapping[int, str]) -> tuple[int, ...]:
    """The ids of what is named; ``labels`` are all."""
    if not wanted:
        return ()
    fixed, moving = scans.fixed.labels, scans.moving.labels
    if fixed is None or moving is None:
        raise SettingError("Labels steer where both scans have them: give the label maps of both.", option="steer")
    both = np.intersect1d(np.unique(fixed.array), np.unique(moving.array))
    known = [int(label) for label in both if label > 0]
    if not known:
        raise InputError("No label is in both label maps, so none can steer: give two of the same numbering.")
    chosen = set(known) if LABELS in wanted else set()
    for item in wanted:
        if item != LABELS:
            chosen |= {_label(item, known, meaning)}
    return tuple(sorted(chosen))


def _label(item: str | int, known: Sequence[int], meaning: Mapping[int, str]) -> int:
    require_type(item, (str, int, np.integer), "What steers is labels, landmarks, or a label by its number or name")
    text = str(item).strip().casefold()
    named = [label for label in known if meaning.get(label, "").casefold() == text]
    if text.isdecimal() and int(text) in known:
        return int(text)
    if len(named) == 1:
        return named[0]
    several = f"are {len(named)} labels" if named else "is no label"
    listed = ", ".join(f"{label} {meaning[label]}" if label in meaning else str(label) for label in known[:20])
    unnamed = "" if text.isdecimal() or meaning else "; these maps name none, so use a number, or give `label_names`"
    raise SettingError(
        f"{shown(item)} {several} of both label maps: choose labels (all), landmarks, or of these: {listed}{unnamed}.",
        option="steer",
    )


def _landmarks(landmarks: tuple[Points, Points] | None, scans: Pair[Scan]) -> Pair[Points]:
    if landmarks is None:
        raise SettingError("Landmarks steer where both scans have them: give those of both.", option="steer")
    fixed, moving = landmarks
    for role, points, scan in (("fixed", fixed, scans.fixed), ("moving", moving, scans.moving)):
        beyond = np.flatnonzero(outside(points, scan.image.grid))
        if len(beyond):
            raise InputError(
                f"{some_of(len(beyond), len(points.coordinates), 'landmark')} of the {role} scan "
                f"{'lies' if len(beyond) == 1 else 'lie'} outside of it, first point {beyond[0] + 1}, and so cannot steer: give "
                "LPS millimetres of this scan, or leave them out."
            )
    return Pair(fixed=fixed, moving=moving)
