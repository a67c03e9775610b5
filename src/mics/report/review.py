"""The page of a batch: its pairs worst first, their distributions, and links to the page of each; one file, no network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from mics.files.whole import write_text
from mics.report.page import viewer_part
from mics.report.sections import MARKS, without_folders
from mics.report.summary_text import above_zero, fold_percentage, inverse_error, label_of, moving_label_scores
from mics.run_summary import RunSummary
from mics.summary_parts import BeforeAndAfter, EvidenceSummary

PAGE = "review.html"

_NONE = "none"
_ORDER = (_NONE, "failed", "look", "good")
_WORDS = {_NONE: "not registered", "failed": "failed", "look": "look", "good": "good"}


@dataclass(frozen=True)
class Reviewed:
    """A pair on the page: the summary of its registration, or in ``error`` why there is none; ``picture``: JPEG."""

    fixed: str
    moving: str
    folder: str
    summary: RunSummary | None
    error: str | None = None
    picture: bytes | None = None

    @property
    def word(self) -> str:
        """The word of the verdict, or ``none``."""
        return _NONE if self.summary is None or self.summary.verdict is None else self.summary.verdict.word


@dataclass(frozen=True)
class _Measure:
    title: str
    value: Callable[[RunSummary], float | None]
    decimals: int
    best: int
    """1: more is better; -1: less is; 0: neither."""


def _mean_dice(summary: RunSummary) -> float | None:
    scores = moving_label_scores(summary)
    return None if scores is None else scores.mean_dice


def _worst_dice(summary: RunSummary) -> float | None:
    scores = moving_label_scores(summary)
    return None if scores is None or scores.worst_label is None else scores.dice[str(scores.worst_label)]


def _evidence(measure: Callable[[EvidenceSummary], BeforeAndAfter]) -> Callable[[RunSummary], float | None]:
    return lambda summary: None if summary.evidence is None else measure(summary.evidence).result


def _error(index: int) -> Callable[[RunSummary], float | None]:
    def value(summary: RunSummary) -> float | None:
        error = inverse_error(summary)
        return None if error is None else error[index]

    return value


_MEASURES = (
    _Measure("Mean Dice", _mean_dice, 3, 1),
    _Measure("Worst label’s Dice", _worst_dice, 3, 1),
    _Measure("TRE, mm", lambda summary: None if summary.landmarks is None else summary.landmarks.tre_mm.mean, 1, -1),
    _Measure("Overlap of found organs", _evidence(lambda found: found.organ_overlap), 3, 1),
    _Measure("Correlation of tissue", _evidence(lambda found: found.similarity), 3, 1),
    _Measure("Folds, %", fold_percentage, 3, -1),
    _Measure("Inverse error, mean, mm", _error(0), 2, -1),
    _Measure("Inverse error, largest, mm", _error(1), 1, -1),
    _Measure("Seconds", lambda summary: summary.total_seconds, 0, 0),
)


def write_review(pairs: Sequence[Reviewed], path: str | Path) -> None:
    """Write ``review.html``, to lie beside the pairs' folders. The file appears complete or not at all."""
    write_text(review(pairs), Path(path))


def review(pairs: Sequence[Reviewed]) -> str:
    """The page as HTML."""
    ordered = sorted(pairs, key=_badness)
    shown = [measure for measure in _MEASURES if any(_value(measure, pair) is not None for pair in ordered)]
    return Template(viewer_part("review.html")).substitute(
        style=viewer_part("base.css") + viewer_part("review.css"),
        script=viewer_part("theme.js") + viewer_part("review.js"),
        title=f"{len(ordered)} pair{'' if len(ordered) == 1 else 's'}",
        counts="".join(_count(word, ordered) for word in _ORDER),
        distributions="".join(_distribution(measure, ordered) for measure in shown),
        columns="".join(_heading(measure) for measure in shown),
        rows="\n".join(_row(number, pair, shown) for number, pair in enumerate(ordered)),
    )


def _badness(pair: Reviewed) -> tuple[int, float, str]:
    """Worst first: by verdict, then by the first measure of agreement that the pair has."""
    known = (_value(measure, pair) for measure in _MEASURES if measure.best == 1)
    agreement = next((value for value in known if value is not None), 0.0)
    return _ORDER.index(pair.word), agreement, pair.folder


def _value(measure: _Measure, pair: Reviewed) -> float | None:
    return None if pair.summary is None else measure.value(pair.summary)


def _count(word: str, pairs: Sequence[Reviewed]) -> str:
    number = sum(pair.word == word for pair in pairs)
    if number == 0 and word == _NONE:
        return ""
    return (
        f'<button type="button" class="count {word}" data-word="{word}" aria-pressed="false"><b>{number}</b> '
        f"{_WORDS[word]}</button>"
    )


def _heading(measure: _Measure) -> str:
    return f'<th scope="col" aria-sort="none"><button type="button">{escape(measure.title)}</button></th>'


def _row(number: int, pair: Reviewed, measures: Sequence[_Measure]) -> str:
    link = quote(f"{pair.folder}/report.html")
    name = f"{pair.moving} onto {pair.fixed}"
    title = escape(name) if pair.summary is None else f'<a href="{escape(link)}">{escape(name)}</a>'
    cells = "".join(_cell(measure, pair) for measure in measures)
    return (
        f'<tr id="pair-{number}" class="{pair.word}" data-word="{pair.word}">'
        f'<td class="picture">{_picture(pair, link)}</td>'
        f'<th scope="row" data-value="{escape(name)}">{title}</th>'
        f'<td data-value="{_ORDER.index(pair.word)}"><span class="word">{MARKS.get(pair.word, "–")} {_WORDS[pair.word]}</span>'
        f"{_messages(pair)}</td>{cells}</tr>"
    )


def _picture(pair: Reviewed, link: str) -> str:
    if pair.picture is None:
        return ""
    # The link is there once for keyboards and screen readers, on the name.
    data = base64.b64encode(pair.picture).decode()
    return f'<a href="{escape(link)}" tabindex="-1" aria-hidden="true"><img alt="" src="data:image/jpeg;base64,{data}"></a>'


def _messages(pair: Reviewed) -> str:
    if pair.summary is None:
        return f"<p>{escape(pair.error or '')}</p>"
    summary = pair.summary
    reasons = [] if summary.verdict is None else summary.verdict.reasons
    messages = [without_folders(message, summary) for message in (*reasons, *summary.warnings)]
    scores, worst = moving_label_scores(summary), _worst_dice(summary)
    if scores is not None and worst is not None:
        messages.append(f"Worst label: {label_of(summary, str(scores.worst_label))}, Dice {worst:.2f}.")
    return "".join(f"<p>{escape(message)}</p>" for message in messages)


def _cell(measure: _Measure, pair: Reviewed) -> str:
    value = _value(measure, pair)
    if value is None:
        return '<td class="number" data-value=""><span aria-label="not known">–</span></td>'
    return f'<td class="number" data-value="{value:.9g}">{escape(above_zero(value, measure.decimals))}</td>'


_WIDTH, _HEIGHT, _RADIUS, _MARGIN = 240.0, 64.0, 5.0, 8.0


def _distribution(measure: _Measure, pairs: Sequence[Reviewed]) -> str:
    """A dot a pair along the measure's axis, on top of each other where they would overlap; each leads to its row."""
    found = [(value, number) for number, pair in enumerate(pairs) if (value := _value(measure, pair)) is not None]
    values = sorted(value for value, _ in found)
    low, high = values[0], values[-1]
    middle = (
        values[len(values) // 2] if len(values) % 2 else (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2
    )
    dots = "".join(_dots(found, pairs, low, high, measure))
    better = {1: " → better", -1: "better ← ", 0: ""}[measure.best]
    left, median, right = (escape(above_zero(value, measure.decimals)) for value in (low, middle, high))
    return (
        f"<figure><figcaption>{escape(measure.title)} <small>median {median}</small></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="group" aria-label="{escape(measure.title)}, a dot a pair">'
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{_HEIGHT - 1}" y2="{_HEIGHT - 1}"/>{dots}</svg>'
        f'<div class="ends"><span>{left}</span><span>{better}</span><span>{right}</span></div></figure>'
    )


def _dots(
    found: Sequence[tuple[float, int]], pairs: Sequence[Reviewed], low: float, high: float, measure: _Measure
) -> Iterator[str]:
    columns: dict[int, int] = {}
    for value, number in sorted(found):
        share = (value - low) / (high - low) if high > low else 0.5
        x = _MARGIN + share * (_WIDTH - 2 * _MARGIN)
        column = round(x / (2 * _RADIUS))
        level = columns.get(column, 0)
        columns[column] = level + 1
        # So many pairs that a column is full lie closer.
        y = _HEIGHT - 1 - _RADIUS - level * 2 * _RADIUS % (_HEIGHT - 2 * _RADIUS)
        pair = pairs[number]
        title = f"{pair.moving} onto {pair.fixed}: {above_zero(value, measure.decimals)}"
        yield (
            f'<a href="#pair-{number}" class="{pair.word}"><title>{escape(title)}</title>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS - 0.6:g}"/></a>'
        )
