"""Table 4: ours beside other methods, with time, memory and folds."""

from mics.experiments.compare import compare
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.study import Study

OURS = PaperNetwork(steps=2, long_pretraining=True)
"""Pretrained for 48 hours (section 4.7), unlike the networks of the other tables."""
PREDECESSOR = PaperNetwork(steps=1, delta=0.0, epsilon=0.0, long_pretraining=True)
"""Similarity, Dice and gradient losses alone, at the same budget."""

LAPIRN = PaperNetwork(steps=1, kind="lapirn")
"""On the fine-tuning's subjects alone and with their labels, as its authors took part in the challenge."""


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """The three networks; the methods are run by :func:`mics.experiments.compare.compare`."""
    return [OURS, PREDECESSOR, LAPIRN]


def write(study: Study) -> str:
    """The comparison's table, and a sentence for each method that was skipped or failed."""
    networks = {"network": OURS, "predecessor": PREDECESSOR, "lapirn": LAPIRN}
    methods = [f"{method}={study.model(network)}" for method, network in networks.items()]
    if study.budget.baselines:
        methods += ["unregistered", f"mics={study.model(OURS)}", *study.budget.baselines]
    result = compare(study.data, study.folder / "table4", methods=methods, both_directions=study.budget.both_ways)
    return "\n".join([result.table, *result.skipped, *result.failed]) + "\n"
