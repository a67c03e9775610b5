"""The files of a registration's results, and the pictures among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mics.registration.register import Registration

RESULT_FILES = (
    *("summary.json", "lesions.csv", "overview.png", "report.html"),
    *(f"{scan}{labels}_warped.nii.gz" for scan in ("moving", "fixed") for labels in ("", "_labels")),
    *(f"transform_{way}.nii.gz{end}" for way in ("moving_to_fixed", "fixed_to_moving") for end in ("", ".json")),
)
"""What a registration leaves in its folder."""

_DRAWING = Lock()
"""matplotlib draws one figure at a time."""


def pictures(registration: Registration) -> dict[str, Callable[[Path], object]]:
    """Writers of the pictures by their files' names, for :meth:`mics.Registration.save`; matplotlib is loaded when it draws."""

    def draw(path: Path) -> None:
        from mics.report.figures import overview

        with _DRAWING:
            overview(registration, path)

    def page(path: Path) -> None:
        from mics.report.page import write_report

        write_report(registration, path)

    return {"overview.png": draw, "report.html": page}
