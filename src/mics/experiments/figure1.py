"""Figure 1: what the pretraining brings: box plots of Dice per organ, its mean, and SdLogJ."""

from matplotlib.axes import Axes

from mics.evaluation.pair_score import PairScore
from mics.evaluation.tables import table
from mics.experiments.plan import ELEVEN_ORGANS, Measurement, PaperNetwork, trained_and_used
from mics.experiments.study import Study
from mics.experiments.write import column, new_figure, save_figure, spread
from mics.organs import ORGAN_NAMES

STRATEGIES: dict[str, tuple[int, ...] | None] = {
    "no pretraining": None,
    "unsupervised": (),
    "liver": (6,),
    "liver, spleen, kidneys": (6, 1, 2, 3),
    "eleven organs": ELEVEN_ORGANS,
}
"""Ids of the organs whose pseudo-labels supervise the pretraining. The paper prints no numbers beside the plot."""


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """Five networks that differ in their pretraining alone; α = β = γ = 1, δ = ε = 0."""
    return [_measurement(organs) for organs in STRATEGIES.values()]


def write(study: Study) -> str:
    """Draw ``figure1.png``; the table has the mean of every organ."""
    results = {name: study.scores(_measurement(organs)) for name, organs in STRATEGIES.items()}
    _draw(study, results)
    rows = [["mean Dice", *(spread(scores, "dice") for scores in results.values())]]
    rows.append(["SdLogJ", *(spread(scores, "sd_log_jacobian") for scores in results.values())])
    for organ, name in ORGAN_NAMES.items():
        means = [_of(scores, organ) for scores in results.values()]
        rows.append([name, *(f"{sum(values) / len(values):.3f}" if values else "–" for values in means)])
    return "\n".join(table(["", *results], rows)) + "\n"


def _draw(study: Study, results: dict[str, list[PairScore]]) -> None:
    figure = new_figure(14, 5)
    left, right = figure.subplots(1, 2, width_ratios=[12, 1.6])
    colours = [f"C{n}" for n in range(len(results))]
    width = 0.8 / len(results)
    groups = [*ORGAN_NAMES.items(), (0, "mean")]
    for n, scores in enumerate(results.values()):
        values = [_of(scores, organ) if organ else column(scores, "dice") for organ, _ in groups]
        places = [group + (n - (len(results) - 1) / 2) * width for group in range(len(groups))]
        _boxes(left, values, places, width, colours[n])
        _boxes(right, [column(scores, "sd_log_jacobian")], [n], 0.7, colours[n])
    left.set_xticks(range(len(groups)), [name for _, name in groups], rotation=40, ha="right")
    left.set_ylabel("Dice")
    left.set_ylim(0, 1)
    left.margins(x=0.01)
    right.set_ylabel("SdLogJ")
    right.set_xticks([])
    handles = [left.plot([], [], color=colour, linewidth=6)[0] for colour in colours]
    figure.legend(handles, list(results), loc="outside upper center", ncols=len(results), frameon=False)
    save_figure(figure, study.folder / "figure1.png")


def _boxes(axes: Axes, values: list[list[float]], places: list[float], width: float, colour: str) -> None:
    drawn = axes.boxplot(
        values, positions=places, widths=0.85 * width, patch_artist=True, showfliers=False, manage_ticks=False
    )
    for box in drawn["boxes"]:
        box.set(facecolor=colour, alpha=0.7, linewidth=0.5)
    for line in drawn["medians"]:
        line.set(color="black", linewidth=1)


def _of(scores: list[PairScore], organ: int) -> list[float]:
    return [score.dice[organ] for score in scores if organ in score.dice]


def _measurement(organs: tuple[int, ...] | None) -> Measurement:
    return trained_and_used(PaperNetwork(steps=1, gamma=1.0, delta=0.0, epsilon=0.0, organs=organs))
