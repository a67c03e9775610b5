"""Figure 2: Dice against SdLogJ while one of the weights γ, δ, ε is swept."""

from mics.evaluation.tables import table
from mics.experiments.plan import Measurement, PaperNetwork, trained_and_used
from mics.experiments.study import Study
from mics.experiments.write import mean, new_figure, save_figure, spread

SWEEPS = {
    "γ": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "δ": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "ε": (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
}
"""The weights that are not swept: γ = 0.1, δ = ε = 0."""

COLOURS = {"γ": "tab:blue", "δ": "tab:green", "ε": "tab:red"}

PAPER = (
    "The paper prints no numbers beside the plot. It says: low γ gives noisy transformations without much higher Dice; "
    "δ and ε lower SdLogJ while Dice stays around 0.55, and the deformation comes near the identity at δ = 0.1 and at "
    "ε = 100; the best compromise is δ from 1e-3 to 1e-2 and ε from 1 to 10."
)


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """A network of one step for every value of every sweep, or of its ends alone."""
    return [
        _measurement(weight, value) for weight, values in SWEEPS.items() for value in _subsampled(values, sweep_ends)
    ]


def write(study: Study) -> str:
    """Draw ``figure2.png``; the table has its points."""
    figure = new_figure(7, 5)
    axes, rows = figure.subplots(), []
    for weight, values in SWEEPS.items():
        points = []
        for value in _subsampled(values, study.budget.sweep_ends):
            scores = study.scores(_measurement(weight, value))
            points.append((mean(scores, "dice"), mean(scores, "sd_log_jacobian")))
            rows.append([weight, f"{value:g}", spread(scores, "dice"), spread(scores, "sd_log_jacobian")])
            axes.annotate(f"{value:g}", points[-1], xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[weight], label=f"{weight} varies")
    axes.axvline(study.unregistered_dice(), color="0.6", linestyle=":", label="unregistered")
    axes.set(xlabel="Dice", ylabel="SdLogJ")
    axes.legend(frameon=False)
    save_figure(figure, study.folder / "figure2.png")
    return "\n".join([*table(["weight", "value", "Dice", "SdLogJ"], rows), "", PAPER]) + "\n"


def _subsampled(values: tuple[float, ...], sweep_ends: bool) -> tuple[float, ...]:
    return (values[0], values[-1]) if sweep_ends else values


def _measurement(weight: str, value: float) -> Measurement:
    gamma, delta, epsilon = (value if weight == name else other for name, other in (("γ", 0.1), ("δ", 0.0), ("ε", 0.0)))
    return trained_and_used(PaperNetwork(steps=1, gamma=gamma, delta=delta, epsilon=epsilon))
