"""The page on which a reviewer looks at pseudo-labels, worst first, and keeps or rejects them."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from mics.data.preview import COLOURS
from mics.files.whole import write_text
from mics.organs import ORGAN_NAMES
from mics.pseudo_labels.label_review import COLUMNS, REVIEWS, WHOLE_CASE, LabelReview
from mics.pseudo_labels.rank import Plausibility

PAGE = "review.html"

_HEAD = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Pseudo-labels, worst first</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 84em; color: #222 }}
section {{ display: flex; flex-wrap: wrap; gap: 1.5em; border-top: 1px solid #ccc; padding: 1em 0 }}
img {{ width: 34em; max-width: 100%; image-rendering: pixelated; background: #000 }}
section > div {{ flex: 1 1 30em }} h2 {{ font-size: 1em; margin: 0 0 .5em }}
td, th {{ white-space: nowrap; padding: 0 .8em 0 0; text-align: left; font-weight: normal }}
th {{ color: #666 }} .bad {{ color: #b00; font-weight: bold }}
i {{ display: inline-block; width: .8em; height: .8em; margin-right: .4em }}
header {{ position: sticky; top: 0; background: #fffe; padding: .5em 0 }}
</style></head><body>
<header><h1>Pseudo-labels, worst first</h1>
<p>Reject what is wrong, save, put {REVIEWS} beside this page and run the command again.
<button id="save">Save {REVIEWS}</button> <span id="count"></span></p></header>
"""

_SCRIPT = f"""<script>
const rows = () => [...document.querySelectorAll("select")].filter(e => e.value);
const cell = text => '"' + text.replaceAll('"', '""') + '"';
const count = () => document.getElementById("count").textContent = rows().length + " verdicts";
document.addEventListener("change", count); count();
document.getElementById("save").onclick = () => {{
  const lines = rows().map(e => [e.dataset.case, e.dataset.organ, e.value, e.nextElementSibling.value].map(cell).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["{",".join(COLUMNS)}", ...lines].join("\\n") + "\\n"], {{type: "text/csv"}}));
  link.download = "{REVIEWS}"; link.click();
}};
</script></body></html>
"""


class Card(NamedTuple):
    """One case on the page: its picture, relative to the page, and its predicted organs, worst first."""

    case: str
    picture: str
    organs: Sequence[tuple[int, Plausibility]]


def write_page(cards: Sequence[Card], reviews: Mapping[tuple[str, int], LabelReview], folder: Path) -> Path:
    """Write ``folder/review.html``, which needs nothing but the pictures; returns its path.

    The reviews that there are already are filled in.
    """
    sections = [_section(card, reviews) for card in cards]
    write_text("\n".join([_HEAD, *sections, _SCRIPT]), folder / PAGE)
    return folder / PAGE


def _section(card: Card, reviews: Mapping[tuple[str, int], LabelReview]) -> str:
    rows = "\n".join(_row(card.case, organ, plausibility, reviews) for organ, plausibility in card.organs)
    return f"""<section><a href="{escape(card.picture)}"><img src="{escape(card.picture)}" loading="lazy" alt=""></a><div>
<h2>{escape(card.case)} {_choice(card.case, WHOLE_CASE, reviews)}</h2>
<table><tr><th>organ<th>score<th>because of<th>verdict</tr>
{rows}
</table></div></section>"""


def _row(case: str, organ: int, plausibility: Plausibility, reviews: Mapping[tuple[str, int], LabelReview]) -> str:
    colour = ", ".join(f"{value:.0f}" for value in COLOURS[organ])
    mark = ' class="bad"' if plausibility.score < 0.25 else ""
    weakest = f"{plausibility.weakest_factor} {plausibility.factors[plausibility.weakest_factor]:.2f}"
    return (
        f'<tr><td><i style="background: rgb({colour})"></i>{ORGAN_NAMES[organ]}<td{mark}>{plausibility.score:.2f}'
        f"<td>{weakest}<td>{_choice(case, organ, reviews)}</tr>"
    )


def _choice(case: str, organ: int, reviews: Mapping[tuple[str, int], LabelReview]) -> str:
    given = reviews.get((case, organ))
    chosen = "" if given is None else "keep" if given.keep else "reject"
    options = "".join(
        f"<option{' selected' if value == chosen else ''}>{value}</option>" for value in ("", "keep", "reject")
    )
    comment = "" if given is None else escape(given.comment)
    name = ORGAN_NAMES.get(organ, "")
    return (
        f'<select data-case="{escape(case)}" data-organ="{name}">{options}</select>'
        f'<input placeholder="comment" value="{comment}">'
    )
