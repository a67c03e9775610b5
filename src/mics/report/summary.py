"""A registration's summary in a few sentences, for the terminal, the demo's report and the picture's caption."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

from mics.data.label_names import label_name

Summary = Mapping[str, Any]

VERDICTS = {
    "good": "Verdict: good. Nothing that was looked at speaks against it.",
    "look": "Verdict: look at the picture before you use this.",
    "failed": "Verdict: failed. Do not use this result.",
}
"""What each word of a verdict says, in a sentence."""
_CAPTION = 160
"""Characters of a line above the picture."""
TG132 = (
    "AAPM TG-132 tolerates: contours Dice 0.80 to 0.90 and mean distance to agreement (MDA) 2 to 3 mm, landmarks (TRE) 2 to "
    "3 mm, no negative Jacobian."
)
_DIRECTIONS = ("moving_to_fixed", "fixed_to_moving")
# Measure, title, characters and decimals of a number.
_COLUMNS = (("dice", "Dice", 4, 2), ("hd95_mm", "HD95, mm", 5, 1), ("mda_mm", "MDA, mm", 5, 1))
_MOST_ROWS = 20


def describe(summary: Summary) -> list[str]:
    """A few lines that a person reads after a registration; ``summary`` as in ``summary.json``."""
    lines = [
        *_verdict(summary),
        _overlap(summary),
        *_organs(summary),
        *_landmarks(summary),
        *_lesions(summary),
        _plausibility(summary),
        *_tolerances(summary),
        *_topology(summary),
        f"Made with {_method(summary)}.",
    ]
    return [line for line in [*lines, *_warnings(summary), "Research software, not a medical device."] if line]


def caption(summary: Summary) -> str:
    """Above the picture: which scans, the key figures, the verdict, its reasons and the warnings."""
    names = [f"{role}: {scan_name(summary['inputs'][role]['path'])}" for role in ("fixed", "moving")]
    figures = [_overlap(summary), _plausibility(summary)]
    reasons = [
        line
        for sentence in [*_verdict(summary), *_warnings(summary)]
        for line in wrap(sentence, _CAPTION, subsequent_indent="  ")
    ]
    return "\n".join(["     ".join(names), "   ".join(figure for figure in figures if figure), *reasons])


def _warnings(summary: Summary) -> list[str]:
    return [f"Look twice: {sentence}" for sentence in summary["warnings"]]


def _verdict(summary: Summary) -> list[str]:
    """The verdict, and its reasons, a line each."""
    verdict = summary["verdict"]
    return [VERDICTS[verdict["word"]], *(f"- {reason}" for reason in verdict["reasons"])]


def _overlap(summary: Summary) -> str:
    if summary["labels"] is None or summary["labels"]["moving_to_fixed"]["mean_dice"] is None:
        return ""
    scores, steered = summary["labels"]["moving_to_fixed"], _steered(summary)
    before, after, what = scores["mean_dice_affine_only"], scores["mean_dice"], f"labels: {len(scores['dice'])}"
    judging = [label for label in scores["dice"] if label not in steered]
    if steered and judging:
        before, after = (fmean(scores[measure][label] for label in judging) for measure in ("dice_affine_only", "dice"))
        what = f"labels that did not steer: {len(judging)}"
    elif steered:
        what += "; all of them steered, so it judges nothing"
    return f"Mean Dice {before:.2f} after the affine, {after:.2f} after registration ({what})."


def _steered(summary: Summary) -> list[str]:
    """The labels that steered, as keys of the scores."""
    led = (summary.get("steering") or {}).get("labels")
    return [] if led is None else [str(label) for label in led["ids"]]


def _organs(summary: Summary) -> list[str]:
    """Dice, HD95 and MDA of the labels, with the affine alone and after registration, and which is the worst."""
    if summary["labels"] is None or not summary["labels"]["moving_to_fixed"]["dice"]:
        return []
    scores = summary["labels"]["moving_to_fixed"]
    labels = sorted(scores["dice"], key=lambda label: scores["dice"][label])
    shown = labels if len(labels) <= _MOST_ROWS else labels[:_MOST_ROWS]
    names = {label: _numbered(summary, label) for label in shown}
    width, steered = max(map(len, names.values())), _steered(summary)
    rows = [
        f"  {names[label]:<{width}}"
        + "".join(_before_and_after(scores, label, *column) for column in _COLUMNS)
        + ("  steered" if label in steered else "")
        for label in sorted(shown, key=int)
    ]
    heading = f"  {'':<{width}}" + "".join(f"{title:>{2 * digits + 5}}" for _, title, digits, _ in _COLUMNS)
    left_out = (
        [f"  {len(labels) - len(shown)} labels with a larger Dice: see summary.json"]
        if len(shown) < len(labels)
        else []
    )
    return [heading, *rows, *left_out, _worst(summary, scores)]


def _before_and_after(
    scores: Mapping[str, Any], label: str, measure: str, title: str, digits: int, decimals: int
) -> str:
    values = scores[f"{measure}_affine_only"][label], scores[measure][label]
    before, after = ("lost" if value is None else f"{value:.{decimals}f}" for value in values)
    return f"  {before:>{digits}} → {after:>{digits}}"


def _worst(summary: Summary, scores: Mapping[str, Any]) -> str:
    label = scores["worst_label"]
    distances = [(title, scores[measure][label]) for measure, title, _, _ in _COLUMNS[1:]]
    measured = [f"{title.removesuffix(', mm')} {value:.1f} mm" for title, value in distances if value is not None]
    parts = [label_of(summary, label), f"Dice {scores['dice'][label]:.2f}", *(measured or ["out of view"])]
    return f"Worst: {', '.join(parts)}."


def label_of(summary: Summary, label: str) -> str:
    """The name of a label of the summary, or its number."""
    return label_name(int(label), {int(key): name for key, name in summary["label_names"].items()})


def _landmarks(summary: Summary) -> list[str]:
    """The target registration error, with the affine alone and after registration."""
    if summary["landmarks"] is None:
        return []
    scores = summary["landmarks"]
    before, after = scores["tre_mm_affine_only"], scores["tre_mm"]
    led = (summary.get("steering") or {}).get("landmarks")
    judged = " They steered, so it judges nothing." if led else ""
    return [
        f"TRE of {_counted(scores['count'], 'landmark')}: mean {before['mean']:.1f} → {after['mean']:.1f} mm, largest "
        f"{before['max']:.1f} → {after['max']:.1f} mm.{judged}"
    ]


def _lesions(summary: Summary) -> list[str]:
    """Each lesion's volume in both scans, and its change."""
    if not summary.get("lesions"):
        return []
    rows = [_lesion(label, row) for label, row in summary["lesions"].items()]
    return ["Lesions, moving → fixed:", *rows]


def _lesion(label: str, row: Mapping[str, float | None]) -> str:
    moving, fixed = (row[name] for name in ("moving_ml", "fixed_ml"))
    volumes = " → ".join("not given" if volume is None else f"{volume:.2f} ml" for volume in (moving, fixed))
    parts = [volumes]
    if moving == 0 and fixed:
        parts.append("new")
    elif fixed == 0 and moving:
        parts.append("gone")
    elif row["change_percent"] is not None:
        parts.append(f"{row['change_percent']:+.0f} %")
    if row["jacobian"] is not None:
        parts.append(f"Jacobian inside {row['jacobian']:.2f}")
    if row["growth_not_absorbed"]:
        parts.append(f"growth that the deformation leaves {row['growth_not_absorbed']:.2f} times")
    return f"  {label}: {', '.join(parts)}"


def _numbered(summary: Summary, label: str) -> str:
    """A label's name after its number."""
    name = label_of(summary, label)
    return f"{label} {name}" if label in summary["label_names"] else name


def fold_percentage(summary: Summary) -> float:
    """Of the voxels of the worse direction."""
    return float(100 * max(summary["folds"][direction] for direction in _DIRECTIONS))


def jacobian_range(summary: Summary) -> tuple[float, float]:
    """The smallest and the largest determinant of either direction."""
    ranges = [summary["jacobian"][direction] for direction in _DIRECTIONS]
    return min(found["min"] for found in ranges), max(found["max"] for found in ranges)


def inverse_error(summary: Summary) -> tuple[float, float] | None:
    """Mean and largest inverse-consistency error in mm, of the worse direction each; None where neither is known."""
    errors = [summary["inverse_consistency_mm"][direction] for direction in _DIRECTIONS]
    known = [error for error in errors if error["mean"] is not None]
    return (max(error["mean"] for error in known), max(error["max"] for error in known)) if known else None


def _plausibility(summary: Summary) -> str:
    """Folds, Jacobian range and inverse-consistency error of the worse direction each."""
    least, largest = jacobian_range(summary)
    sentence = f"Folds: {fold_percentage(summary):.3f} % of the voxels; Jacobian {least:.2f} to {largest:.2f}"
    error = inverse_error(summary)
    if error:
        sentence += f"; inverse-consistency error: mean {error[0]:.2f} mm, at most {error[1]:.1f} mm"
    return sentence + "."


def _tolerances(summary: Summary) -> list[str]:
    """What the measures are held against, where there are any."""
    return [] if summary["labels"] is None and summary["landmarks"] is None else [TG132]


def _topology(summary: Summary) -> list[str]:
    """What it took, in each direction, to deliver a transform without folds."""
    if summary["topology"] is None:
        return []
    return [
        "No fold, by central differences and in every tetrahedron:",
        *map(_certificate, summary["topology"].items()),
    ]


def _certificate(item: tuple[str, Mapping[str, float]]) -> str:
    name, found = item
    least = min(found["least_central"], found["least_tetrahedron"])
    changed = (
        f"changed at {found['voxels_changed']} voxels by {found['mean_change_mm']:.2f} mm on average, at most "
        f"{found['largest_change_mm']:.1f} mm"
        if found["voxels_changed"]
        else "as it was"
    )
    return f"  {name.replace('_', ' ')}: smallest J {least:.3f}, {changed}"


def _method(summary: Summary) -> str:
    settings = summary["settings"]
    refined = "not refined" if settings["refine"] == "none" else f"refined on this pair ({settings['refine']})"
    if settings.get("same_patient"):
        refined += " as one patient's"
    return (
        f"{settings['model']['name']} in {_counted(settings['steps'], 'step')}, {refined}, affine {settings['affine']}, on "
        f"{settings['device']} in {summary['seconds']['total']:.0f} s"
    )


def scan_name(path: str | None) -> str:
    """A scan's file without its folder."""
    return "from an array" if path is None else Path(path).name


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
