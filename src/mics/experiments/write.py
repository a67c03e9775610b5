"""What tables and figures of experiments have in common: means with spreads, files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mics.evaluation.pair_score import PairScore
from mics.files.whole import write_whole


def column(scores: Sequence[PairScore], measure: str) -> list[float]:
    """A measure of every pair that has it."""
    return [value for score in scores if (value := score.measures()[measure]) is not None]


def spread(scores: Sequence[PairScore], measure: str, decimals: int = 3) -> str:
    """``0.591 ± 0.060``: mean and standard deviation over pairs, as in the paper's tables."""
    values = column(scores, measure)
    return f"{np.mean(values):.{decimals}f} ± {np.std(values):.{decimals}f}" if values else "–"


def mean(scores: Sequence[PairScore], measure: str) -> float:
    """Mean over pairs; NaN where no pair has it."""
    values = column(scores, measure)
    return float(np.mean(values)) if values else float("nan")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG under a temporary name, then give it its name."""
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))
