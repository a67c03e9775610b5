"""A registration at a glance, for the page of a batch: a coronal slice of both scans and what is left between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from mics.data.preview import label_colour
from mics.files.whole import write_whole
from mics.report.sheets import cut, shown_planes

if TYPE_CHECKING:
    from mics.registration.register import Registration

_HEIGHT, _GAP = 168, 3
_ABDOMEN_HU, _DIFFERENCE_HU = (-160.0, 240.0), (-250.0, 250.0)
_NO_DATA = 80


def write_thumbnail(registration: Registration, path: str | Path) -> None:
    """Write a JPEG of some kilobytes: fixed scan, warped scan, their difference; outlines are the fixed scan's labels."""
    picture = Picture.fromarray(thumbnail(registration))
    write_whole(path, lambda temporary: picture.save(temporary, quality=82))


def thumbnail(registration: Registration) -> NDArray[np.uint8]:
    """The three panels, (rows, columns, 3)."""
    plane = next(plane for plane in shown_planes(registration) if plane.name == "coronal")
    sheets = cut(registration, plane)
    width = max(1, round(_HEIGHT * plane.width_mm / plane.height_mm))
    panels = [
        _panel(sheets.fixed, _ABDOMEN_HU, width),
        _panel(sheets.warped, _ABDOMEN_HU, width),
        _panel(sheets.fixed - sheets.warped, _DIFFERENCE_HU, width),
    ]
    if sheets.fixed_labels is not None:
        labels = _chosen(sheets.fixed_labels, width)
        for panel in panels:
            _outline(panel, labels)
    gap = np.zeros((_HEIGHT, _GAP, 3), np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)


def _panel(sheet: NDArray[Any], window: tuple[float, float], width: int) -> NDArray[np.uint8]:
    low, high = window
    grey = np.where(np.isnan(sheet), _NO_DATA, np.clip((sheet - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    resized = np.asarray(Picture.fromarray(grey).resize((width, _HEIGHT), Picture.Resampling.BILINEAR))
    return np.repeat(resized[..., None], 3, axis=2)


def _chosen(labels: NDArray[Any], width: int) -> NDArray[Any]:
    """The label map at the panel's pixels."""
    rows, columns = (
        np.minimum(((np.arange(count) + 0.5) * length / count).astype(int), length - 1)
        for count, length in zip((_HEIGHT, width), labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _outline(panel: NDArray[np.uint8], labels: NDArray[Any]) -> None:
    """Colour the pixels of each label that have another one above, below or beside them."""
    around = np.pad(labels, 1)
    edge = np.zeros(labels.shape, bool)
    for neighbour in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
        edge |= neighbour != labels
    for label in np.unique(labels[labels > 0]):
        colour = label_colour(int(label))
        panel[edge & (labels == label)] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
