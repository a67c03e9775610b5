"""Draws points_and_images.png: why points move opposite to images. Run by `make docs-code`."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Ellipse

FIXED, MOVING = "#0b7fab", "#c2570c"


def main() -> None:
    figure = Figure(figsize=(9, 3.9))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    organs = ((left, (4.0, 4.2), FIXED, "fixed scan", 0), (right, (5.6, 3.6), MOVING, "moving scan", -25))
    for axes, centre, colour, title, angle in organs:
        axes.add_patch(Ellipse(centre, 5, 3, angle=angle, facecolor=colour, alpha=0.2, edgecolor=colour, linewidth=2))
        axes.set(xlim=(0, 10), ylim=(0.6, 7), xticks=np.arange(11), yticks=np.arange(1, 8), aspect="equal")
        axes.set_title(title, color=colour)
        axes.grid(color="0.88")
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.tick_params(length=0)
    here, there = (5.5, 4.2), (6.95, 2.97)
    left.plot(*here, "s", color=FIXED, markersize=9)
    right.plot(*there, "s", color=MOVING, markersize=9)
    left.annotate("x", here, (-4, 8), textcoords="offset points", color=FIXED, fontsize=13)
    right.annotate("x + displacement(x)", there, (-66, -42), textcoords="offset points", color=MOVING, fontsize=11)
    bends = (
        (-0.22, "->", "POINTS: landmark x of the fixed scan goes to its place in the moving scan  →", 0.94),
        (0.28, "<-", "←  IMAGES: voxel x of the warped image is filled with the value found there", 0.05),
    )
    for bend, style, text, height in bends:
        arrow = ConnectionPatch(
            here, there, "data", "data", axesA=left, axesB=right, arrowstyle=style, shrinkA=9, shrinkB=9
        )
        arrow.set(connectionstyle=f"arc3,rad={bend}", mutation_scale=20, linewidth=1.6, color="0.25")
        figure.add_artist(arrow)
        figure.text(0.5, height, text, ha="center", fontsize=10.5, color="0.2")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.84, bottom=0.13, wspace=0.08)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
