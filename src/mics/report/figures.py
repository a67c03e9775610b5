"""The picture that answers "did it work?": one registration in three planes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mics.image.whole import write_whole
from mics.report.planes import Plane, three_planes
from mics.report.sheets import Sheets, centre_voxel, cut
from mics.report.summary import caption

if TYPE_CHECKING:
    from mics.registration.pipeline import Registration

TITLES = ("fixed", "moving, affine only", "moving, warped", "difference before", "difference after", "grid", "Jacobian")
ABDOMEN = Normalize(-160, 240)  # HU: the abdominal window, W 400 L 40
BEHIND_GRID = Normalize(-160, 600)  # HU: the same anatomy, dark enough for lines upon it
DIFFERENCE = Normalize(-250, 250)  # HU
# As in the paper: red negative (folded), white zero, blue positive.
JACOBIAN = TwoSlopeNorm(0, vmin=-1, vmax=3)
FIXED_COLOUR, MOVING_COLOUR, GRID_COLOUR, NO_DATA = "#1fd1f0", "#ff9a2b", "#ffe14d", "#5b6472"
GRID_MM = 15.0
DPI = 110
PANEL, LEFT, RIGHT, ABOVE, LINE, BELOW = 2.7, 0.35, 0.1, 0.38, 0.235, 0.95  # inches


def overview(registration: Registration, path: str | Path) -> None:
    """Write a PNG: fixed, moving, warped, differences, deformation grid, Jacobian; axial, coronal and sagittal.

    The patient's right is on the left of the picture. Labels, where given, are outlined, the fixed scan's and the
    moving scan's in one colour each, so that what does not coincide is seen. The slices go through the middle of the
    labels, or of the body where both scans have data; only these slices are computed.
    """
    planes = three_planes(registration.fixed.grid, centre_voxel(registration))
    figure = draw([(plane, cut(registration, plane)) for plane in planes], caption(registration.summary))
    # Compression at level 3 takes half the time of 6 and makes the file a twentieth larger.
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=DPI, pil_kwargs={"compress_level": 3}))


def draw(rows: list[tuple[Plane, Sheets]], text: str) -> Figure:
    """The figure: one row a plane, all panels at one scale."""
    scale = PANEL / max(plane.width_mm for plane, _ in rows)
    heights = [scale * plane.height_mm for plane, _ in rows]
    above = ABOVE + LINE * len(text.splitlines())
    width, height = LEFT + PANEL * len(TITLES) + RIGHT, above + sum(heights) + BELOW
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    cells = figure.add_gridspec(
        len(rows),
        len(TITLES),
        height_ratios=heights,
        left=LEFT / width,
        right=1 - RIGHT / width,
        top=1 - above / height,
        bottom=BELOW / height,
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
    _add_legends(figure, panels[-1], [rows[0][1].fixed_labels, rows[0][1].warped_labels])
    return figure


def _draw_row(panels: list[Axes], plane: Plane, sheets: Sheets) -> None:
    fixed, affine, warped, before, after, grid, jacobian = panels
    no_data = np.isnan(sheets.warped)
    show_slice(fixed, sheets.fixed, plane, "gray", ABDOMEN)
    show_slice(affine, sheets.affine, plane, "gray", ABDOMEN)
    show_slice(warped, sheets.warped, plane, "gray", ABDOMEN)
    show_slice(before, sheets.fixed - sheets.affine, plane, "gray", DIFFERENCE)
    show_slice(after, sheets.fixed - sheets.warped, plane, "gray", DIFFERENCE)
    show_slice(grid, np.where(no_data, np.nan, sheets.fixed), plane, "gray", BEHIND_GRID)
    show_slice(jacobian, np.where(no_data, np.nan, sheets.jacobian), plane, "bwr_r", JACOBIAN)
    for k in range(2):
        draw_grid_lines(grid, np.where(no_data, np.nan, sheets.position_mm[..., k]), plane)
    _outline(jacobian, sheets.fixed_labels, plane, "0.55")
    _draw_lines(jacobian, _lines(np.where(no_data, np.nan, sheets.jacobian), [1.0], plane), "black", 0.5)
    for axes, labels in ((fixed, None), (affine, sheets.affine_labels), (warped, sheets.warped_labels)):
        _outline(axes, sheets.fixed_labels, plane, FIXED_COLOUR)
        _outline(axes, labels, plane, MOVING_COLOUR)
    _letter_edges(fixed, plane)


def show_slice(axes: Axes, picture: NDArray[Any], plane: Plane, colours: str, scale: Normalize) -> None:
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


def _draw_lines(axes: Axes, lines: list[NDArray[Any]], colour: str, width: float) -> None:
    """All lines at once: a contour plot a label takes half of the whole picture's time."""
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width), autolim=False)


def draw_grid_lines(axes: Axes, position: NDArray[Any], plane: Plane) -> None:
    """Lines of constant position in the moving scan: a grid drawn there, as the transform brings it here."""
    if np.isfinite(position).any():
        first, last = np.ceil(np.nanmin(position) / GRID_MM), np.floor(np.nanmax(position) / GRID_MM)
        _draw_lines(axes, _lines(position, np.arange(first, last + 1) * GRID_MM, plane), GRID_COLOUR, 0.6)


def _outline(axes: Axes, labels: NDArray[Any] | None, plane: Plane, colour: str) -> None:
    if labels is not None:
        shown = np.unique(labels[labels > 0])
        lines = [line for label in shown for line in _lines((labels == label).astype(np.float32), [0.5], plane)]
        _draw_lines(axes, lines, colour, 0.9)


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


def _add_legends(figure: Figure, panels: list[Axes], labels: list[NDArray[Any] | None]) -> None:
    """Below the panels: what colours and lines mean; ``labels`` of the fixed and the moving scan, None if not drawn."""
    width, height = figure.get_size_inches()
    text_height = 0.36 / height

    def bar(first: Axes, last: Axes, colours: str, scale: Normalize, ticks: list[int], title: str) -> None:
        left, right = first.get_position().x0, last.get_position().x1
        margin = 0.12 * (right - left)
        axes = figure.add_axes((left + margin, 0.64 / height, right - left - 2 * margin, 0.13 / height))
        colourbar = figure.colorbar(ScalarMappable(scale, colours), cax=axes, orientation="horizontal")
        axes.set_xscale("linear")
        colourbar.set_ticks(ticks, labels=[str(tick).replace("-", "−") for tick in ticks], fontsize=8)
        figure.text((left + right) / 2, text_height, title, fontsize=9, ha="center", va="top")

    bar(panels[3], panels[4], "gray", DIFFERENCE, [-250, 0, 250], "fixed − moving, HU")
    bar(panels[6], panels[6], "bwr_r", JACOBIAN, [-1, 0, 1, 2, 3], "< 0 folded; line: 1, same volume")
    centre = (panels[5].get_position().x0 + panels[5].get_position().x1) / 2
    figure.text(centre, 0.77 / height, f"{GRID_MM:g} mm grid of the moving scan", fontsize=9, ha="center", va="top")
    handles: list[Line2D | Patch] = [Patch(color=NO_DATA, label="no data in the moving scan")]
    for name, colour, drawn in zip(("fixed", "moving"), (FIXED_COLOUR, MOVING_COLOUR), labels, strict=True):
        if drawn is not None:
            handles.append(Line2D([], [], color=colour, label=f"{name} labels"))
    place = (LEFT / width, 0.88 / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=3, frameon=False, fontsize=9)
    figure.text(
        LEFT / width, text_height, "  Research software, not a medical device.", fontsize=9, va="top", color="0.4"
    )
