"""The page's text: verdict, figures, organs, settings, as HTML. Whatever comes from a file or a user is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mics.report.colours import label_colour
from mics.report.summary import (
    TG132,
    VERDICTS,
    fold_percentage,
    inverse_error,
    jacobian_range,
    label_of,
    scan_name,
)

Summary = Mapping[str, Any]
Cells = Sequence[str]

MARKS = {"good": "✓", "look": "!", "failed": "✕"}
_MEASURES = (("dice", "Dice", 2), ("hd95_mm", "HD95, mm", 1), ("mda_mm", "MDA, mm", 1))


def verdict(summary: Summary) -> str:
    """The verdict, its reasons and the warnings."""
    word = summary["verdict"]["word"]
    heading, _, sentence = VERDICTS[word].removesuffix(".").partition(". ")
    reasons = _list("Why", [without_folders(reason, summary) for reason in summary["verdict"]["reasons"]])
    warnings = _list("Look twice", [without_folders(warning, summary) for warning in summary["warnings"]])
    return (
        f'<section class="verdict {word}" aria-label="Verdict"><span class="mark" aria-hidden="true">{MARKS[word]}</span>'
        f"<div><h2>{escape(heading)}</h2>{_paragraph(sentence and sentence + '.')}{reasons}{warnings}</div></section>"
    )


def figures(summary: Summary) -> str:
    """The key figures, before (the affine alone) and after."""
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd class=note>{escape(note)}</dd></div>"
        for name, value, note in _figures(summary)
    )
    return f'<dl class="figures">{cards}</dl>'


def organs(summary: Summary, shown: Sequence[int]) -> str:
    """Tables of the given labels, of which those ``shown`` can be gone to, and of the organs that the network finds."""
    return _given(summary, shown) + _found(summary)


def settings(summary: Summary) -> str:
    """What went in and how it was made: no folder, no date, nothing of a scan's header but its geometry."""
    used = summary["settings"]
    affine = used["affine"]
    models = (("Registration model", used["model"]), ("Organ model", used["segmentation_model"]))
    rows = [
        *((role.capitalize(), _scan(summary["inputs"][role])) for role in ("fixed", "moving")),
        *((what, _model(model)) for what, model in models if model),
        ("Steps, refinement, topology", f"{used['steps']}, {used['refine']}, {used['topology']}"),
        ("Affine", affine if affine in ("organs", "ants", "none", "array") else Path(affine).name),
        ("Device", used["device"]),
        ("MICS", summary["mics_version"]),
    ]
    matrix = summary["geometry"]["affine_fixed_to_moving_lps_mm"]
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
            [(escape(stage), f"{seconds:.1f}") for stage, seconds in summary["seconds"].items()],
            "numbers",
        )
    )


def title(summary: Summary) -> str:
    """Which scan was brought onto which."""
    fixed, moving = (scan_name(summary["inputs"][role]["path"]) for role in ("fixed", "moving"))
    return escape(f"{moving} onto {fixed}")


def without_folders(sentence: str, summary: Summary) -> str:
    """A sentence with the given files by their names alone."""
    given = ("path", "labels", "exclude", "lesions")
    paths = [scan[key] for scan in summary["inputs"].values() for key in given if scan.get(key)]
    for path in sorted({*paths, summary["settings"]["affine"]}, key=len, reverse=True):
        sentence = sentence.replace(path, Path(path).name)
    return sentence


def _figures(summary: Summary) -> Iterator[tuple[str, str, str]]:
    labels, evidence, landmarks = summary["labels"], summary["evidence"], summary["landmarks"]
    scores = labels["moving_to_fixed"] if labels else None
    if scores and scores["mean_dice"] is not None:
        led = (summary.get("steering") or {}).get("labels")
        note = f"{_BEFORE}; {len(led['ids'])} of them steered" if led else _BEFORE
        yield "Mean Dice, given labels", _change(scores["mean_dice_affine_only"], scores["mean_dice"], 2), note
    if evidence:
        overlap, likeness = evidence["organ_overlap"], evidence["similarity"]
        yield "Overlap of organs found", _change(overlap["affine"], overlap["result"], 2), "usual is .8 and more"
        yield "Correlation of tissue", _change(likeness["affine"], likeness["result"], 2), "usual is .75 and more"
    if landmarks:
        before, after = landmarks["tre_mm_affine_only"]["mean"], landmarks["tre_mm"]["mean"]
        steered = "; they steered" if (summary.get("steering") or {}).get("landmarks") else ""
        yield "Mean TRE, mm", _change(before, after, 1), f"largest {landmarks['tre_mm']['max']:.1f} mm{steered}"
    error = inverse_error(summary)
    if error:
        yield "There and back, mm", f"{error[0]:.2f}", f"mean; at most {error[1]:.1f} mm"
    least, largest = jacobian_range(summary)
    yield "Folds", f"{fold_percentage(summary):.3f} %", f"Jacobian {least:.2f} to {largest:.2f}"


_BEFORE = "affine alone → registered"


def _given(summary: Summary, shown: Sequence[int]) -> str:
    scores = summary["labels"]["moving_to_fixed"] if summary["labels"] else {}
    if not scores.get("dice"):
        return ""
    rows = [
        [
            _organ_button(label_of(summary, label), int(label), shown),
            *(_change(scores[f"{key}_affine_only"][label], scores[key][label], digits) for key, _, digits in _MEASURES),
        ]
        for label in sorted(scores["dice"], key=int)
    ]
    heads = ("Organ", *(name for _, name, _ in _MEASURES))
    return _table(f"Given labels, {_BEFORE}", heads, rows, "numbers") + (
        f"<p class=note>Choose an organ to go to its middle in the fixed scan. {escape(TG132)}</p>"
    )


def _found(summary: Summary) -> str:
    evidence = summary["evidence"]
    if not evidence or not evidence["organs"]:
        return ""
    rows = [
        [
            escape(name),
            f"{organ['fixed_ml']:.0f}",
            f"{organ['moving_ml']:.0f}",
            _change(organ["dice_affine"], organ["dice_result"], 2),
        ]
        for name, organ in evidence["organs"].items()
    ]
    heads = ("Organ", "Fixed, ml", "Moving, ml", "Dice")
    return _table(f"Organs as the network finds them, {_BEFORE}", heads, rows, "numbers")


def _organ_button(name: str, label: int, shown: Sequence[int]) -> str:
    if label not in shown:
        return escape(name)
    mark = f'<i style="background:{label_colour(label)}"></i>'
    return f'<button type="button" class="organ" data-label="{label}">{mark}{escape(name)}</button>'


def _change(before: float | None, after: float | None, digits: int) -> str:
    first, second = ("–" if value is None else f"{value:.{digits}f}" for value in (before, after))
    return f"{first} → {second}"


def _scan(scan: Mapping[str, Any]) -> str:
    grid = scan["grid"]
    size = " × ".join(str(n) for n in grid["size"])
    spacing = " × ".join(f"{mm:.2f}" for mm in grid["spacing_mm"])
    return f"{scan_name(scan['path'])}: {size} voxels of {spacing} mm, {grid['orientation']}"


def _model(model: Mapping[str, Any]) -> str:
    return f"{Path(model['name']).name}, {model['spacing_mm']:g} mm, SHA-256 {model['sha256']}"


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


def _list(heading: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return f"<h3>{heading}</h3><ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""
