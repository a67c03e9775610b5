"""The page of one registration: a file that opens anywhere, with the verdict and three linked planes to scroll through."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from mics.data.label_names import label_name
from mics.data.preview import label_colour
from mics.files.whole import write_text
from mics.report import sections
from mics.report.summary_text import label_names
from mics.report.volumes import MAX_VOXELS, shown_volumes

if TYPE_CHECKING:
    from mics.registration.register import Registration

MAX_BYTES = 15_000_000


def write_report(registration: Registration, path: str | Path) -> None:
    """Write ``report.html``: one file of at most 15 MB that needs no network and names no folder and no date.

    The scans are shown on the fixed scan's grid, coarser where they would not fit.

    Args:
        registration: What :func:`mics.register` returned.
        path: Of the page, which appears whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    write_text(report(registration), Path(path))


def report(registration: Registration) -> str:
    """The page as HTML."""
    most_voxels = MAX_VOXELS
    while True:
        text = _page(registration, *shown_volumes(registration, most_voxels))
        # A scan of nothing but noise packs badly.
        if len(text) <= MAX_BYTES or most_voxels < 1000:
            return text
        most_voxels //= 2


def _page(registration: Registration, meta: dict[str, Any], volumes: dict[str, str]) -> str:
    summary = registration.run_summary
    names = label_names(summary)
    meta["organs"] = [
        {"label": label, "name": label_name(label, names), "colour": label_colour(label)} for label in meta["labels"]
    ]
    return Template(viewer_part("page.html")).substitute(
        style=viewer_part("base.css") + viewer_part("page.css"),
        script="".join(map(viewer_part, ("theme.js", "volumes.js", "viewer.js"))),
        title=sections.title(summary),
        verdict=sections.verdict(summary),
        figures=sections.figures(summary),
        organs=sections.organs(summary, meta["labels"]),
        settings=sections.settings(summary),
        shown=_shown(meta),
        meta=_json(meta),
        volumes="\n".join(
            f'<script type="text/plain" id="volume-{name}">{packed}</script>' for name, packed in volumes.items()
        ),
    )


def _shown(meta: dict[str, Any]) -> str:
    spacing = " × ".join(f"{step * mm:.2f}" for step, mm in zip(meta["steps"], meta["spacing"], strict=True))
    own = " × ".join(f"{mm:.2f}" for mm in meta["spacing"])
    apart = " × ".join(f"{step * mm:.1f}" for step, mm in zip(meta["apart"], meta["spacing"], strict=True))
    scans = "at the fixed scan's own spacing" if max(meta["steps"]) == 1 else f"as means of voxels of {own} mm"
    return (
        f"Shown every {spacing} mm, {scans}; HU within 1 between −200 and 300, within 4 beyond, from −1024 to 3068 (the affine "
        f"alone: four times as far off); displacement within 0.1 mm and Jacobian within 1 % at "
        f"points {apart} mm apart, in between interpolated. The files beside this page hold "
        "everything in full."
    )


def _json(values: dict[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def viewer_part(name: str) -> str:
    """A file of ``viewer/``."""
    return (files("mics.report") / "viewer" / name).read_text(encoding="utf-8")
