"""Table 2: training with one and two steps, inference with one to four."""

from mics.evaluation.tables import table
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.study import Study
from mics.experiments.write import spread

PAPER = {
    (1, 1): ("0.35 ± 0.078", "0.13 ± 0.019"),
    (1, 2): ("0.33 ± 0.067", "0.52 ± 0.116"),
    (1, 3): ("0.30 ± 0.067", "0.76 ± 0.146"),
    (2, 1): ("0.54 ± 0.070", "0.12 ± 0.009"),
    (2, 2): ("0.60 ± 0.059", "0.26 ± 0.050"),
    (2, 3): ("0.61 ± 0.058", "0.34 ± 0.062"),
    (2, 4): ("0.61 ± 0.057", "0.41 ± 0.069"),
}
"""Dice and SdLogJ by steps in training and in inference; δ = 1e-2, ε = 10."""


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """Seven measurements of two networks."""
    return [_measurement(*steps) for steps in PAPER]


def write(study: Study) -> str:
    """The table, ours beside the paper's, mean ± standard deviation over pairs."""
    rows = []
    for (trained, used), (dice, smoothness) in PAPER.items():
        scores = study.scores(_measurement(trained, used))
        folds = spread(scores, "fold_percent", 4)
        ours = [spread(scores, "dice"), spread(scores, "sd_log_jacobian")]
        rows.append([str(trained), str(used), ours[0], dice, ours[1], smoothness, folds])
    titles = ["training steps", "inference steps", "Dice", "paper's Dice", "SdLogJ", "paper's SdLogJ", "J ≤ 0, %"]
    return "\n".join(table(titles, rows)) + "\n"


def _measurement(trained: int, used: int) -> Measurement:
    return Measurement(PaperNetwork(steps=trained), used)
