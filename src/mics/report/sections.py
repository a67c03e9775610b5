"""The page's text: verdict, figures, organs, settings, as HTML. Whatever comes from a file or a user is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from mics.data.preview import label_colour
from mics.report.summary_text import (
    TG132,
    VERDICTS,
    above_zero,
    fold_percentage,
    inverse_error,
    jacobian_range,
    known_measures,
    label_of,
    landmarks_steered,
    moving_label_scores,
    number,
    scan_name,
)
from mics.run_summary import RunSummary
from mics.summary_parts import InputSummary, ModelSummary

Cells = Sequence[str]

MARKS = {"good": "✓", "look": "!", "failed": "✕"}


def verdict(summary: RunSummary) -> str:
    """The verdict, its reasons and the warnings; nothing of a version that had no verdict."""
    if summary.verdict is None:
        return ""
    word = summary.verdict.word
    heading, _, message = VERDICTS[word].removesuffix(".").partition(". ")
    reasons = _list("Why", [without_folders(reason, summary) for reason in summary.verdict.reasons])
    warnings = _list("Look twice", [without_folders(warning, summary) for warning in summary.warnings])
    return (
        f'<section class="verdict {word}" aria-label="Verdict"><span class="mark" aria-hidden="true">{MARKS[word]}</span>'
        f"<div><h2>{escape(heading)}</h2>{_paragraph(message and message + '.')}{reasons}{warnings}</div></section>"
    )


def figures(summary: RunSummary) -> str:
    """The key figures, before (the affine alone) and after."""
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd class=note>{escape(note)}</dd></div>"
        for name, value, note in _figures(summary)
    )
    return f'<dl class="figures">{cards}</dl>'


def organs(summary: RunSummary, shown: Sequence[int]) -> str:
    """Tables of the given labels, of which those ``shown`` can be gone to, and of the organs that the network finds."""
    return _given_label_rows(summary, shown) + _found_organ_rows(summary)


def settings(summary: RunSummary) -> str:
    """What went in and how it was made: no folder, no date, nothing of a scan's header but its geometry."""
    used, affine = summary.settings, summary.settings.affine
    predicts = None if used.same_patient else used.model
    models = (("Registration model", predicts), ("Organ model", used.segmentation_model))
    rows = [
        ("Fixed", _scan(summary.inputs.fixed)),
        ("Moving", _scan(summary.inputs.moving)),
        *((what, _model(model)) for what, model in models if model),
        ("Steps, refinement, topology", f"{used.steps}, {used.refine}, {used.topology}"),
        ("Affine", affine if affine in ("organs", "ants", "none", "array") else Path(affine).name),
        ("Device", used.device),
        ("MICS", summary.mics_version),
    ]
    matrix = summary.geometry.affine_fixed_to_moving_lps_mm
    return (
        _table("Settings", ("", ""), [tuple(map(escape, row)) for row in rows], "plain")
        + _table(
            "Affine, fixed to moving points, LPS mm",
            (),
            [[f"{value:.4f}" for value in row] for row in matrix],
            "numbers",
        )
        + _table(
            "Seconds",
            (),
            [(escape(stage), f"{seconds:.1f}") for stage, seconds in summary.seconds.items()],
            "numbers",
        )
    )


def title(summary: RunSummary) -> str:
    """Which scan was brought onto which."""
    return escape(f"{scan_name(summary.inputs.moving.path)} onto {scan_name(summary.inputs.fixed.path)}")


def without_folders(message: str, summary: RunSummary) -> str:
    """A sentence with the given files by their names alone."""
    scans = summary.inputs.fixed, summary.inputs.moving
    given = [path for scan in scans for path in (scan.path, scan.labels, scan.exclude, scan.lesions) if path]
    for path in sorted({*given, summary.settings.affine}, key=len, reverse=True):
        message = message.replace(path, Path(path).name)
    return message


def _figures(summary: RunSummary) -> Iterator[tuple[str, str, str]]:
    scores, evidence, landmarks = moving_label_scores(summary), summary.evidence, summary.landmarks
    if scores and scores.mean_dice is not None:
        led = summary.steering.labels if summary.steering else None
        note = f"{_BEFORE}; {len(led.ids)} of them steered" if led else _BEFORE
        yield "Mean Dice, given labels", _change(scores.mean_dice_affine_only, scores.mean_dice, 2), note
    if evidence:
        overlap, likeness = evidence.organ_overlap, evidence.similarity
        yield "Overlap of organs found", _change(overlap.affine, overlap.result, 2), "usual is .8 and more"
        yield "Correlation of tissue", _change(likeness.affine, likeness.result, 2), "usual is .75 and more"
    if landmarks:
        steered = "; they steered" if landmarks_steered(summary) else ""
        change = _change(landmarks.tre_mm_affine_only.mean, landmarks.tre_mm.mean, 1)
        yield "Mean TRE, mm", change, f"largest {number(landmarks.tre_mm.max, 1)} mm{steered}"
    if error := inverse_error(summary):
        yield "Inverse-consistency error, mm", f"{error[0]:.2f}", f"mean; at most {error[1]:.1f} mm"
    determinants = jacobian_range(summary)
    note = f"Jacobian {determinants[0]:.2f} to {determinants[1]:.2f}" if determinants else ""
    yield "Folds", f"{above_zero(fold_percentage(summary), 3)} %", note


_BEFORE = "affine alone → registered"


def _given_label_rows(summary: RunSummary, shown: Sequence[int]) -> str:
    scores = moving_label_scores(summary)
    if scores is None or not scores.dice:
        return ""
    measures = known_measures(scores)
    rows = [
        [
            _organ_button(label_of(summary, label), int(label), shown),
            *(_change(one.before(scores)[label], one.after(scores)[label], one.decimals) for one in measures),
        ]
        for label in sorted(scores.dice, key=int)
    ]
    heads = ("Organ", *(measure.title for measure in measures))
    return _table(f"Given labels, {_BEFORE}", heads, rows, "numbers") + (
        f"<p class=note>Choose an organ to go to its middle in the fixed scan. {escape(TG132)}</p>"
    )


def _found_organ_rows(summary: RunSummary) -> str:
    if summary.evidence is None or not summary.evidence.organs:
        return ""
    rows = [
        [
            escape(name),
            f"{organ.fixed_ml:.0f}",
            f"{organ.moving_ml:.0f}",
            _change(organ.dice_affine, organ.dice_result, 2),
        ]
        for name, organ in summary.evidence.organs.items()
    ]
    heads = ("Organ", "Fixed, ml", "Moving, ml", "Dice")
    return _table(f"Organs as the network finds them, {_BEFORE}", heads, rows, "numbers")


def _organ_button(name: str, label: int, shown: Sequence[int]) -> str:
    if label not in shown:
        return escape(name)
    mark = f'<i style="background:{label_colour(label)}"></i>'
    return f'<button type="button" class="organ" data-label="{label}">{mark}{escape(name)}</button>'


def _change(before: float | None, after: float | None, digits: int) -> str:
    return f"{number(before, digits)} → {number(after, digits)}"


def _scan(scan: InputSummary) -> str:
    size = " × ".join(str(n) for n in scan.grid.size)
    spacing = " × ".join(f"{mm:.2f}" for mm in scan.grid.spacing_mm)
    return f"{scan_name(scan.path)}: {size} voxels of {spacing} mm, {scan.grid.orientation}"


def _model(model: ModelSummary) -> str:
    return f"{Path(model.name).name}, {model.spacing_mm:g} mm, SHA-256 {model.sha256}"


def _table(caption: str, heads: Cells, rows: Sequence[Cells], kind: str) -> str:
    """A table; heads are escaped, cells are HTML, the first of a row is its head."""
    head = (
        f"<thead><tr>{''.join(f'<th scope=col>{escape(name)}</th>' for name in heads)}</tr></thead>"
        if any(heads)
        else ""
    )
    body = "".join(
        f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>"
        for first, *others in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{escape(caption)}</caption>{head}'
        f"<tbody>{body}</tbody></table></div>"
    )


def _list(heading: str, messages: Sequence[str]) -> str:
    if not messages:
        return ""
    return f"<h3>{heading}</h3><ul>{''.join(f'<li>{escape(message)}</li>' for message in messages)}</ul>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""
