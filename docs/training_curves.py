"""Draws docs/training_curves.png: validation of several runs of `mics train`, epoch by epoch.

python docs/training_curves.py "pretrained on the phantom=RUN" "from random weights=RUN"
"""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

PANELS = {"val/loss": "validation loss", "val/dice": "validation Dice, 13 organs", "val/sd_log_jacobian": "SdLogJ"}


def curve(run: Path, column: str) -> list[float]:
    """A column of a run's curves, all its parts in order."""
    values = []
    for part in sorted(run.glob("curves/version_*/metrics.csv")):
        with part.open(encoding="utf-8") as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


figure = Figure(figsize=(9, 2.8), layout="constrained")
for axes, (column, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
    for argument in sys.argv[1:]:
        name, _, run = argument.partition("=")
        values = curve(Path(run), column)
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch of 100 iterations")
    axes.grid(alpha=0.3)
axes.legend(fontsize=7)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
