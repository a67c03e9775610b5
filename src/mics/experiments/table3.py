"""Table 3: one and two steps under weak, medium and strong regularisation."""

from mics.evaluation.tables import table
from mics.experiments.plan import Measurement, PaperNetwork, trained_and_used
from mics.experiments.study import Study
from mics.experiments.write import spread

PAPER = {
    (1e-3, 1.0): (("0.57 ± 0.066", "0.25 ± 0.098"), ("0.62 ± 0.055", "0.38 ± 0.091")),
    (1e-2, 10.0): (("0.34 ± 0.078", "0.13 ± 0.019"), ("0.60 ± 0.059", "0.26 ± 0.050")),
    (5e-2, 50.0): (("0.29 ± 0.070", "0.066 ± 0.002"), ("0.44 ± 0.076", "0.080 ± 0.004")),
}
"""Dice and SdLogJ with one step and with two, by δ and ε."""


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """Six networks, each used as it was trained."""
    return [measurement(steps, *weights) for weights in PAPER for steps in (1, 2)]


def measurement(steps: int, delta: float, epsilon: float) -> Measurement:
    """The cell of one row and half of the table."""
    return trained_and_used(PaperNetwork(steps=steps, delta=delta, epsilon=epsilon))


def write(study: Study) -> str:
    """The table, ours beside the paper's, mean ± standard deviation over pairs."""
    rows = []
    for (delta, epsilon), paper in PAPER.items():
        row = [f"{delta:g}", f"{epsilon:g}"]
        for steps, (dice, smoothness) in zip((1, 2), paper, strict=True):
            scores = study.scores(measurement(steps, delta, epsilon))
            row += [spread(scores, "dice"), dice, spread(scores, "sd_log_jacobian"), smoothness]
        rows.append(row)
    halves = [f"{steps}: {title}" for steps in ("1 step", "2 steps") for title in ("Dice", "paper", "SdLogJ", "paper")]
    return "\n".join(table(["δ", "ε", *halves], rows)) + "\n"
