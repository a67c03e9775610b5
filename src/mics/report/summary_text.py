"""A registration's summary in a few sentences, for the terminal, the demo's report and the picture's caption."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from textwrap import wrap

from mics.data.label_names import label_name
from mics.errors import counted
from mics.run_summary import RunSummary
from mics.summary_parts import ByLabel, CertificateSummary, LabelScores, LesionRow

VERDICTS = {
    "good": "Verdict: good. Nothing that was looked at speaks against it.",
    "look": "Verdict: look at the picture before you use this.",
    "failed": "Verdict: failed. Do not use this result.",
}
"""What each word of a verdict says, in a sentence."""
TG132 = (
    "AAPM TG-132 tolerates: contours Dice 0.80 to 0.90 and mean distance to agreement (MDA) 2 to 3 mm, landmarks (TRE) 2 to "
    "3 mm, no negative Jacobian."
)


@dataclass(frozen=True)
class LabelMeasure:
    """An agreement of labels: how it is shown, and its values by label with the affine alone and after registration."""

    title: str
    digits: int
    """Characters of a number."""
    decimals: int
    before: Callable[[LabelScores], ByLabel]
    after: Callable[[LabelScores], ByLabel]


DICE = LabelMeasure("Dice", 4, 2, lambda scores: {**scores.dice_affine_only}, lambda scores: {**scores.dice})
_DISTANCES = (
    LabelMeasure("HD95, mm", 5, 1, lambda scores: scores.hd95_mm_affine_only, lambda scores: scores.hd95_mm),
    LabelMeasure("MDA, mm", 5, 1, lambda scores: scores.mda_mm_affine_only, lambda scores: scores.mda_mm),
)
MEASURES = (DICE, *_DISTANCES)
_MAX_ROWS = 20
_CAPTION = 160
"""Characters of a line above the picture."""


def describe(summary: RunSummary) -> list[str]:
    """A few lines to read after a registration."""
    lines = [
        *_verdict(summary),
        _overlap(summary),
        *_organs(summary),
        *_landmarks(summary),
        *_lesions(summary),
        _plausibility(summary),
        *_tolerances(summary),
        *_topology(summary),
        f"Made {_method(summary)}.",
    ]
    return [line for line in [*lines, *_warnings(summary), "Research software, not a medical device."] if line]


def caption(summary: RunSummary) -> str:
    """The lines above the picture: which scans, the key figures, the verdict, its reasons and the warnings."""
    inputs = summary.inputs
    names = [f"fixed: {scan_name(inputs.fixed.path)}", f"moving: {scan_name(inputs.moving.path)}"]
    figures = [_overlap(summary), _plausibility(summary)]
    reasons = [
        line
        for message in [*_verdict(summary), *_warnings(summary)]
        for line in wrap(message, _CAPTION, subsequent_indent="  ")
    ]
    return "\n".join(["     ".join(names), "   ".join(figure for figure in figures if figure), *reasons])


def _warnings(summary: RunSummary) -> list[str]:
    return [f"Look twice: {message}" for message in summary.warnings]


def _verdict(summary: RunSummary) -> list[str]:
    """The verdict, and its reasons, a line each; none of a version that had none."""
    verdict = summary.verdict
    return [] if verdict is None else [VERDICTS[verdict.word], *(f"- {reason}" for reason in verdict.reasons)]


def _overlap(summary: RunSummary) -> str:
    scores = moving_label_scores(summary)
    if scores is None or scores.mean_dice is None or scores.mean_dice_affine_only is None:
        return ""
    steered, what = _steered(summary), f"labels: {len(scores.dice)}"
    before, after = scores.mean_dice_affine_only, scores.mean_dice
    judging = [label for label in scores.dice if label not in steered]
    if steered and judging:
        before, after = (fmean(dice[label] for label in judging) for dice in (scores.dice_affine_only, scores.dice))
        what = f"labels that did not steer: {len(judging)}"
    elif steered:
        what += "; all of them steered, so it judges nothing"
    return f"Mean Dice {before:.2f} after the affine, {after:.2f} after registration ({what})."


def moving_label_scores(summary: RunSummary) -> LabelScores | None:
    """Scores of the moving labels on the fixed grid; None where not both scans have labels."""
    return None if summary.labels is None else summary.labels.moving_to_fixed


def _steered(summary: RunSummary) -> list[str]:
    """The labels that steered, as keys of the scores."""
    led = None if summary.steering is None else summary.steering.labels
    return [] if led is None else [str(label) for label in led.ids]


def _organs(summary: RunSummary) -> list[str]:
    """Dice, HD95 and MDA of the labels, with the affine alone and after registration, and which is the worst."""
    scores = moving_label_scores(summary)
    if scores is None or not scores.dice:
        return []
    labels = sorted(scores.dice, key=scores.dice.__getitem__)
    shown = labels if len(labels) <= _MAX_ROWS else labels[:_MAX_ROWS]
    names = {label: _numbered(summary, label) for label in shown}
    width, steered, measures = max(map(len, names.values())), _steered(summary), known_measures(scores)
    rows = [
        f"  {names[label]:<{width}}"
        + "".join(_before_and_after(scores, label, measure) for measure in measures)
        + ("  steered" if label in steered else "")
        for label in sorted(shown, key=int)
    ]
    heading = f"  {'':<{width}}" + "".join(f"{measure.title:>{2 * measure.digits + 5}}" for measure in measures)
    left_out = (
        [f"  {counted(len(labels) - len(shown), 'label')} with a larger Dice: see summary.json"]
        if len(shown) < len(labels)
        else []
    )
    return [heading, *rows, *left_out, *_worst(summary, scores)]


def known_measures(scores: LabelScores) -> list[LabelMeasure]:
    """The measures that the summary holds: earlier versions measured fewer."""
    return [measure for measure in MEASURES if measure.before(scores) and measure.after(scores)]


def _before_and_after(scores: LabelScores, label: str, measure: LabelMeasure) -> str:
    values = measure.before(scores)[label], measure.after(scores)[label]
    before, after = ("lost" if value is None else f"{value:.{measure.decimals}f}" for value in values)
    return f"  {before:>{measure.digits}} → {after:>{measure.digits}}"


def _worst(summary: RunSummary, scores: LabelScores) -> list[str]:
    if scores.worst_label is None:
        return []
    label = str(scores.worst_label)
    distances = [(measure.title, measure.after(scores).get(label)) for measure in _DISTANCES]
    measured = [f"{title.removesuffix(', mm')} {value:.1f} mm" for title, value in distances if value is not None]
    parts = [label_of(summary, label), f"Dice {scores.dice[label]:.2f}", *(measured or ["out of view"])]
    return [f"Worst: {', '.join(parts)}."]


def label_of(summary: RunSummary, label: str) -> str:
    """The name of a label of the summary, or its number."""
    return label_name(int(label), label_names(summary))


def label_names(summary: RunSummary) -> dict[int, str]:
    """The names of the labels that either scan shows, as far as they are known."""
    return {int(label): name for label, name in summary.label_names.items()}


def _landmarks(summary: RunSummary) -> list[str]:
    """The target registration error, with the affine alone and after registration."""
    scores = summary.landmarks
    if scores is None:
        return []
    before, after = scores.tre_mm_affine_only, scores.tre_mm
    judged = " They steered, so it judges nothing." if landmarks_steered(summary) else ""
    return [
        f"TRE of {counted(scores.count, 'landmark')}: mean {number(before.mean, 1)} → {number(after.mean, 1)} mm, largest "
        f"{number(before.max, 1)} → {number(after.max, 1)} mm.{judged}"
    ]


def landmarks_steered(summary: RunSummary) -> bool:
    """Whether the refinement followed the landmarks."""
    return summary.steering is not None and summary.steering.landmarks is not None


def number(value: float | None, decimals: int) -> str:
    """A number, or a dash for what is not known."""
    return "–" if value is None else f"{value:.{decimals}f}"


def _lesions(summary: RunSummary) -> list[str]:
    """Each lesion's volume in both scans, and its change."""
    if not summary.lesions:
        return []
    rows = [_lesion(label, row) for label, row in summary.lesions.items()]
    return ["Lesions, moving → fixed:", *rows]


def _lesion(label: str, row: LesionRow) -> str:
    moving, fixed = row.moving_ml, row.fixed_ml
    volumes = " → ".join("not given" if volume is None else f"{volume:.2f} ml" for volume in (moving, fixed))
    parts = [volumes]
    if moving == 0 and fixed:
        parts.append("new")
    elif fixed == 0 and moving:
        parts.append("gone")
    elif row.change_percent is not None:
        parts.append(f"{row.change_percent:+.0f} %")
    if row.jacobian is not None:
        parts.append(f"Jacobian inside {row.jacobian:.2f}")
    if row.growth_not_absorbed:
        parts.append(f"growth that the deformation leaves {row.growth_not_absorbed:.2f} times")
    return f"  {label}: {', '.join(parts)}"


def _numbered(summary: RunSummary, label: str) -> str:
    """A label's name after its number."""
    name = label_of(summary, label)
    return f"{label} {name}" if label in summary.label_names else name


def fold_percentage(summary: RunSummary) -> float:
    """Percentage of folded voxels in the worse direction."""
    return 100 * max(summary.folds.moving_to_fixed, summary.folds.fixed_to_moving)


def above_zero(value: float, digits: int) -> str:
    """A number of ``digits`` decimals; "<0.001" and the like for what is above 0 and would read as none."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if 0 < value < least / 2 else f"{value:.{digits}f}"


def jacobian_range(summary: RunSummary) -> tuple[float, float] | None:
    """The smallest and the largest determinant of either direction; None where they are not known."""
    if summary.jacobian is None:
        return None
    ranges = summary.jacobian.moving_to_fixed, summary.jacobian.fixed_to_moving
    least = [found.min for found in ranges if found.min is not None]
    largest = [found.max for found in ranges if found.max is not None]
    return (min(least), max(largest)) if least and largest else None


def inverse_error(summary: RunSummary) -> tuple[float, float] | None:
    """Mean and largest inverse-consistency error in mm, of the worse direction each; None where neither is known."""
    errors = summary.inverse_consistency_mm.moving_to_fixed, summary.inverse_consistency_mm.fixed_to_moving
    means = [error.mean for error in errors if error.mean is not None]
    largest = [error.max for error in errors if error.max is not None]
    return (max(means), max(largest)) if means and largest else None


def _plausibility(summary: RunSummary) -> str:
    """Folds, Jacobian range and inverse-consistency error of the worse direction each."""
    message = f"Folds: {above_zero(fold_percentage(summary), 3)} % of the voxels"
    if determinants := jacobian_range(summary):
        message += f"; Jacobian {determinants[0]:.2f} to {determinants[1]:.2f}"
    if error := inverse_error(summary):
        message += f"; inverse-consistency error: mean {error[0]:.2f} mm, at most {error[1]:.1f} mm"
    return message + "."


def _tolerances(summary: RunSummary) -> list[str]:
    """What the measures are held against, where there are any."""
    return [] if summary.labels is None and summary.landmarks is None else [TG132]


def _topology(summary: RunSummary) -> list[str]:
    """What it took, in each direction, to deliver a transform without folds."""
    if summary.topology is None:
        return []
    return [
        "No fold, by central differences and in every tetrahedron:",
        *(_certificate(direction, found) for direction, found in summary.topology.items()),
    ]


def _certificate(direction: str, found: CertificateSummary) -> str:
    least = min(found.least_central, found.least_tetrahedron)
    changed = (
        f"changed at {counted(found.voxels_changed, 'voxel')} by {found.mean_change_mm:.2f} mm on average, at most "
        f"{found.largest_change_mm:.1f} mm"
        if found.voxels_changed
        else "as it was"
    )
    return f"  {direction.replace('_', ' ')}: smallest J {least:.3f}, {changed}"


def _method(summary: RunSummary) -> str:
    settings = summary.settings
    refined = "not refined" if settings.refine == "none" else f"refined on this pair ({settings.refine})"
    if settings.model is None or settings.same_patient:  # older summaries name a model for one patient too
        start, refined = "from rest", f"{refined} as one patient's"
    else:
        start = f"with {settings.model.name} in {counted(settings.steps, 'step')}"
    return f"{start}, {refined}, affine {settings.affine}, on {settings.device} in {summary.total_seconds:.0f} s"


def scan_name(path: str | None) -> str:
    """A scan's file without its folder."""
    return "from an array" if path is None else Path(path).name
