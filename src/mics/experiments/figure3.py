"""Figure 3: arrows from the result of one step to that of two, for three regularisations; the networks of Table 3."""

from matplotlib.axes import Axes

from mics.experiments import table3
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.study import Study
from mics.experiments.write import mean, new_figure, save_figure

NAMES = ("weak", "medium", "strong")


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """The cells of Table 3."""
    return table3.cells(sweep_ends=sweep_ends)


def write(study: Study) -> str:
    """Draw ``figure3.png``: ours on the left, the paper's on the right."""
    figure = new_figure(10, 4.5)
    ours, papers = figure.subplots(1, 2)
    for number, ((delta, epsilon), paper) in enumerate(table3.PAPER.items()):
        label = f"{NAMES[number]}: δ = {delta:g}, ε = {epsilon:g}"
        scores = [study.scores(table3.measurement(steps, delta, epsilon)) for steps in (1, 2)]
        _arrow(ours, [(mean(s, "dice"), mean(s, "sd_log_jacobian")) for s in scores], f"C{number}", label)
        _arrow(papers, [(_first(dice), _first(smooth)) for dice, smooth in paper], f"C{number}", label)
    ours.axvline(study.unregistered_dice(), color="0.6", linestyle=":", label="unregistered")
    for axes, title in ((ours, "ours"), (papers, "paper")):
        axes.set(xlabel="Dice", ylabel="SdLogJ", title=f"{title}, from one step to two")
    ours.legend(frameon=False)
    save_figure(figure, study.folder / "figure3.png")
    return table3.write(study)


def _arrow(axes: Axes, points: list[tuple[float, float]], colour: str, label: str) -> None:
    axes.plot(*zip(*points, strict=True), "o", color=colour, label=label)
    axes.annotate("", points[1], points[0], arrowprops={"arrowstyle": "->", "color": colour})


def _first(mean_and_deviation: str) -> float:
    return float(mean_and_deviation.split()[0])
