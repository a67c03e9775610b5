"""A registration's summary in a few sentences, for the terminal, the demo's report and the picture's caption."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

Summary = Mapping[str, Any]

_VERDICTS = {
    "good": "Verdict: good. Nothing that was looked at speaks against it.",
    "look": "Verdict: look at the picture before you use this.",
    "failed": "Verdict: failed. Do not use this result.",
}
_CAPTION = 160
"""Characters of a line above the picture."""


def describe(summary: Summary) -> list[str]:
    """A few lines that a person reads after a registration; ``summary`` as in ``summary.json``."""
    lines = [
        *_verdict(summary),
        _overlap(summary),
        *_organs(summary),
        _plausibility(summary),
        *_topology(summary),
        f"Made with {_method(summary)}.",
    ]
    notes = [f"Look twice: {sentence}" for sentence in summary["warnings"]]
    return [line for line in [*lines, *notes, "Research software, not a medical device."] if line]


def caption(summary: Summary) -> str:
    """Above the picture: which scans, the key figures, the verdict and its reasons."""
    names = [f"{role}: {_name(summary['inputs'][role]['path'])}" for role in ("fixed", "moving")]
    figures = [_overlap(summary), _plausibility(summary)]
    reasons = [line for sentence in _verdict(summary) for line in wrap(sentence, _CAPTION, subsequent_indent="  ")]
    return "\n".join(["     ".join(names), "   ".join(figure for figure in figures if figure), *reasons])


def _verdict(summary: Summary) -> list[str]:
    """The verdict, and its reasons, a line each."""
    verdict = summary["verdict"]
    return [_VERDICTS[verdict["word"]], *(f"- {reason}" for reason in verdict["reasons"])]


def _overlap(summary: Summary) -> str:
    if summary["labels"] is None or summary["labels"]["moving_to_fixed"]["mean_dice"] is None:
        return ""
    scores = summary["labels"]["moving_to_fixed"]
    before, after = scores["mean_dice_affine_only"], scores["mean_dice"]
    return f"Mean Dice {before:.2f} after the affine, {after:.2f} after registration (labels: {len(scores['dice'])})."


def _organs(summary: Summary) -> list[str]:
    """Dice of each label with the affine alone and after registration."""
    if summary["labels"] is None:
        return []
    scores = summary["labels"]["moving_to_fixed"]
    columns = [(label, scores["dice_affine_only"][label], dice) for label, dice in scores["dice"].items()]
    rows = [("  label ", "{0:>5}"), ("  affine", " {1:4.2f}"), ("  result", " {2:4.2f}")]
    return [name + "".join(form.format(*column) for column in columns) for name, form in rows if columns]


def _plausibility(summary: Summary) -> str:
    folds = 100 * max(summary["folds"][direction] for direction in ("moving_to_fixed", "fixed_to_moving"))
    sentence = f"Folds: {folds:.3f} % of the voxels"
    error = summary["inverse_consistency_mm"]["moving_to_fixed"]
    if error["mean"] is not None:
        sentence += f"; inverse-consistency error: mean {error['mean']:.2f} mm, at most {error['max']:.1f} mm"
    return sentence + "."


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
    return (
        f"{settings['model']['name']} in {_counted(settings['steps'], 'step')}, {refined}, affine {settings['affine']}, on "
        f"{settings['device']} in {summary['seconds']['total']:.0f} s"
    )


def _name(path: str | None) -> str:
    return "from an array" if path is None else Path(path).name


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
