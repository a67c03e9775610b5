"""The picture that answers "did it work?": one registration in three planes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mics.data.label_names import label_name
from mics.data.preview import label_colour
from mics.files.whole import write_whole
from mics.report.planes import Plane
from mics.report.sheets import Sheets, cut, shown_planes
from mics.report.summary_text import caption, label_names

if TYPE_CHECKING:
    from mics.registration.register import Registration

TITLES = (
    "fixed",
    "moving, affine only",
    "moving, warped",
    "difference before",
    "difference after",
    "grid",
    "volume change",
)
ABDOMEN = Normalize(-160, 240)  # HU: the abdominal window, W 400 L 40
BEHIND_GRID = Normalize(-160, 600)  # HU: the same anatomy, dark enough for lines upon it
DIFFERENCE = Normalize(-250, 250)  # HU
MAX_OCTAVES = 2
OCTAVES = Normalize(
    -MAX_OCTAVES, MAX_OCTAVES
)  # log2 of the Jacobian without the affine: a quarter to four times the volume
VOLUME_COLOURS = colormaps["bwr"].with_extremes(under="#ffd60a")  # blue, white, red; folds
FOLDED = -99.0  # drawn as what lies under the scale
GRID_COLOUR, NO_DATA = "#ffe14d", "#5b6472"
GRID_MM = 15.0
MAX_NAMES, MAX_LETTERS = 40, 32  # of labels in the legend, and of a name there
LineStyle = str | tuple[float, tuple[float, ...]]
DASHED: LineStyle = (0.0, (3.0, 1.6))
DPI = 110
PANEL, LEFT, RIGHT, ABOVE, LINE, BELOW, FOOT = 2.7, 0.35, 0.1, 0.38, 0.235, 1.15, 0.36  # inches
LEGEND: dict[str, Any] = {
    **{"loc": "upper left", "frameon": False, "fontsize": 8},
    **{"labelspacing": 0.3, "borderaxespad": 0, "columnspacing": 1.2},
}


def overview(registration: Registration, path: str | Path) -> None:
    """Write a PNG: fixed, moving, warped, differences, deformation grid, change of volume; axial, coronal and sagittal.

    The patient's right is on the left of the picture. Labels, where given, are outlined in a colour each, solid in the fixed
    scan and dashed in the moving one, so that what does not coincide is seen. The slices go through the
    labels, or the body where both scans have data; only these slices are computed.

    Args:
        registration: What :func:`mics.register` returned.
        path: Of the picture, which appears whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    rows = [(plane, cut(registration, plane)) for plane in shown_planes(registration)]
    summary = registration.run_summary
    figure = draw(rows, caption(summary), label_names(summary))
    # Compression at level 3 takes half the time of 6 and makes the file a twentieth larger.
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=DPI, pil_kwargs={"compress_level": 3}))


def draw(rows: list[tuple[Plane, Sheets]], text: str, names: Mapping[int, str]) -> Figure:
    """The figure: one row a plane, all panels at one scale; ``names`` of labels, as far as they are known."""
    scale = PANEL / max(plane.width_mm for plane, _ in rows)
    heights = [scale * plane.height_mm for plane, _ in rows]
    above = ABOVE + LINE * len(text.splitlines())
    handles = _organs(rows, names)
    columns, legend_height = _legend_layout(handles)
    below = max(BELOW, 0.05 + legend_height + FOOT)
    width, height = LEFT + PANEL * len(TITLES) + RIGHT, above + sum(heights) + below
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    cells = figure.add_gridspec(
        len(rows),
        len(TITLES),
        height_ratios=heights,
        left=LEFT / width,
        right=1 - RIGHT / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.03,
        hspace=0.03,
    )
    panels = [[figure.add_subplot(cells[i, j]) for j in range(len(TITLES))] for i in range(len(rows))]
    for row, (plane, sheets) in zip(panels, rows, strict=True):
        _draw_row(row, plane, sheets)
        row[0].set_ylabel(plane.name, fontsize=11)
    for axes, title in zip(panels[0], TITLES, strict=True):
        axes.set_title(title, fontsize=11)
    figure.text(LEFT / width, 1 - 0.12 / height, text, fontsize=12, va="top", linespacing=1.4)
    _add_legends(figure, panels[-1], below)
    place = (LEFT / width, (below - 0.05) / height)
    figure.legend(handles=handles, ncols=columns, bbox_to_anchor=place, **LEGEND)
    return figure


def _draw_row(panels: list[Axes], plane: Plane, sheets: Sheets) -> None:
    fixed, affine, warped, before, after, grid, volume = panels
    no_data = np.isnan(sheets.warped)
    show_slice(fixed, sheets.fixed, plane, "gray", ABDOMEN)
    show_slice(affine, sheets.affine, plane, "gray", ABDOMEN)
    show_slice(warped, sheets.warped, plane, "gray", ABDOMEN)
    show_slice(before, sheets.fixed - sheets.affine, plane, "gray", DIFFERENCE)
    show_slice(after, sheets.fixed - sheets.warped, plane, "gray", DIFFERENCE)
    show_slice(grid, np.where(no_data, np.nan, sheets.fixed), plane, "gray", BEHIND_GRID)
    octaves = np.where(np.isneginf(sheets.octaves), FOLDED, np.maximum(sheets.octaves, -MAX_OCTAVES))
    show_slice(volume, np.where(no_data, np.nan, octaves), plane, VOLUME_COLOURS, OCTAVES)
    for k in range(2):
        draw_grid_lines(grid, np.where(no_data, np.nan, sheets.position_mm[..., k]), plane)
    _outline(volume, sheets.fixed_labels, plane, "solid")
    for axes, labels in ((fixed, None), (affine, sheets.affine_labels), (warped, sheets.warped_labels)):
        _outline(axes, sheets.fixed_labels, plane, "solid")
        _outline(axes, labels, plane, DASHED)
    _letter_edges(fixed, plane)


def show_slice(axes: Axes, picture: NDArray[Any], plane: Plane, colours: str | Colormap, scale: Normalize) -> None:
    """A picture of the plane, in millimetres, without ticks."""
    axes.imshow(picture, cmap=colours, norm=scale, extent=plane.extent)
    axes.set_facecolor(NO_DATA)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("N")


def _lines(picture: NDArray[Any], levels: Iterable[float], plane: Plane) -> list[NDArray[Any]]:
    """Lines at the levels that the picture reaches, (N, 2) each, in the panel's millimetres."""
    if not np.isfinite(picture).any():
        return []
    low, high = np.nanmin(picture), np.nanmax(picture)
    rows, columns = picture.shape
    x = (np.arange(columns) + 0.5) * plane.width_mm / columns
    y = (np.arange(rows) + 0.5) * plane.height_mm / rows
    found = contour_generator(x, y, np.ma.masked_invalid(picture))
    return [line for level in levels if low < level < high for line in cast(list[NDArray[Any]], found.lines(level))]


def _draw_lines(
    axes: Axes, lines: list[NDArray[Any]], colour: str | list[str], width: float, style: LineStyle = "solid"
) -> None:
    """All lines at once: a contour plot a label takes half of the whole picture's time."""
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, linestyles=[style]), autolim=False)


def draw_grid_lines(axes: Axes, position: NDArray[Any], plane: Plane) -> None:
    """Lines of constant position in the moving scan: a grid drawn there, as the transform brings it here."""
    if np.isfinite(position).any():
        first, last = np.ceil(np.nanmin(position) / GRID_MM), np.floor(np.nanmax(position) / GRID_MM)
        _draw_lines(axes, _lines(position, np.arange(first, last + 1) * GRID_MM, plane), GRID_COLOUR, 0.6)


def _outline(axes: Axes, labels: NDArray[Any] | None, plane: Plane, style: LineStyle) -> None:
    if labels is not None:
        found = {label: _lines((labels == label).astype(np.float32), [0.5], plane) for label in _shown([labels])}
        lines = [line for own in found.values() for line in own]
        _draw_lines(axes, lines, [label_colour(label) for label, own in found.items() for _ in own], 1.0, style)


def _shown(maps: Iterable[NDArray[Any] | None]) -> list[int]:
    """The labels that any of the maps shows."""
    return sorted({int(label) for labels in maps if labels is not None for label in np.unique(labels[labels > 0])})


def _letter_edges(axes: Axes, plane: Plane) -> None:
    outline = [withStroke(linewidth=2.5, foreground="black")]
    for letter, x, y, place in zip(
        plane.edges, (4, -4, 0, 0), (0, 0, -4, 4), ((0, 0.5), (1, 0.5), (0.5, 1), (0.5, 0)), strict=True
    ):
        axes.annotate(
            letter,
            place,
            (x, y),
            xycoords="axes fraction",
            textcoords="offset points",
            ha={4: "left", -4: "right", 0: "center"}[x],
            va={4: "bottom", -4: "top", 0: "center"}[y],
            color="white",
            fontsize=10,
            weight="bold",
            path_effects=outline,
        )


def _add_legends(figure: Figure, panels: list[Axes], below: float) -> None:
    """Below the panels, where there are ``below`` inches: what colours and lines mean."""
    width, height = figure.get_size_inches()
    text_height = (below - 0.59) / height

    def bar(
        first: Axes, last: Axes, colours: str | Colormap, scale: Normalize, ticks: dict[int, str], title: str
    ) -> None:
        left, right = first.get_position().x0, last.get_position().x1
        margin = 0.12 * (right - left)
        axes = figure.add_axes((left + margin, (below - 0.31) / height, right - left - 2 * margin, 0.13 / height))
        colourbar = figure.colorbar(ScalarMappable(scale, colours), cax=axes, orientation="horizontal")
        colourbar.set_ticks(list(ticks), labels=list(ticks.values()), fontsize=8)
        figure.text((left + right) / 2, text_height, title, fontsize=9, ha="center", va="top")

    bar(panels[3], panels[4], "gray", DIFFERENCE, {-250: "−250", 0: "0", 250: "250"}, "fixed − moving, HU")
    bar(panels[6], panels[6], VOLUME_COLOURS, OCTAVES, {-2: "¼", -1: "½", 0: "1", 1: "2", 2: "4"}, "beyond the affine")
    centre = (panels[5].get_position().x0 + panels[5].get_position().x1) / 2
    figure.text(
        centre, (below - 0.18) / height, f"{GRID_MM:g} mm grid of the moving scan", fontsize=9, ha="center", va="top"
    )
    right = panels[6].get_position().x1
    figure.text(
        right,
        0.22 / height,
        "Volume in the moving scan of what fills one of the fixed scan; yellow: folded.",
        fontsize=9,
        ha="right",
        va="top",
    )
    figure.text(
        LEFT / width, 0.22 / height, "Research software, not a medical device.", fontsize=9, va="top", color="0.4"
    )


def _organs(rows: list[tuple[Plane, Sheets]], names: Mapping[int, str]) -> list[Line2D | Patch]:
    """Which colour is which label, and what solid and dashed lines are."""
    handles: list[Line2D | Patch] = [Patch(color=NO_DATA, label="no data in the moving scan")]
    maps = [labels for _, sheets in rows for labels in (sheets.fixed_labels, sheets.warped_labels)]
    shown = _shown(maps)
    if shown:
        handles += [
            Line2D([], [], color="0.4", label="fixed"),
            Line2D([], [], color="0.4", ls=DASHED, label="moving"),
        ]
    for label in shown[:MAX_NAMES]:
        name = label_name(label, names)
        handles.append(
            Patch(
                color=label_colour(label),
                label=name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…",
            )
        )
    if more := len(shown[MAX_NAMES:]):
        handles.append(Patch(color="none", label=f"and {more} more"))
    return handles


def _legend_layout(handles: list[Line2D | Patch]) -> tuple[int, float]:
    """As many columns as fit below the first three panels, in rows of four and more, and the height in inches."""
    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    for columns in range(max(4, -(-len(handles) // 4)), 0, -1):
        legend = figure.legend(handles=handles, ncols=columns, **LEGEND)
        box = legend.get_window_extent()
        legend.remove()
        if box.width <= 3 * PANEL * figure.dpi:
            break
    return columns, float(box.height / figure.dpi)
