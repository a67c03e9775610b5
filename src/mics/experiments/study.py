"""The folder of an experiment: what has been trained and measured in it, and where the rest goes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mics.data.organs import ORGAN_NAMES
from mics.data.pairs import Pair, read_pairs
from mics.errors import InputError
from mics.evaluation.metrics import dice
from mics.evaluation.pair import PairScore
from mics.experiments.budgets import Budget, budget_of
from mics.experiments.plan import Measurement, Network
from mics.image.folder import writable_folder
from mics.image.whole import write_text

NOTE = "experiment.json"


@dataclass(frozen=True)
class Study:
    """``folder`` of one budget on one set of data; several tables and figures share what it holds.

    ``data``: folder in the Learn2Reg layout, for fine-tuning and evaluation. ``pretraining``: data of the pretraining, as
    ``mics train --data`` takes them.
    """

    folder: Path
    budget_name: str
    data: Path
    pretraining: str

    @property
    def budget(self) -> Budget:
        """What it may cost."""
        return budget_of(self.budget_name)

    def pairs(self) -> list[Pair]:
        """The validation pairs."""
        return read_pairs(self.data, both_ways=self.budget.both_ways, needs=("image", "labels"))

    def unregistered_dice(self) -> float:
        """Mean Dice of the validation pairs as they are."""
        overlaps = [dice(pair.fixed.labels().array, pair.moving.labels().array, ORGAN_NAMES) for pair in self.pairs()]
        return float(np.mean([np.mean(list(overlap.values())) for overlap in overlaps]))

    def run(self, network: Network, stage: str) -> Path:
        """Folder of a training run; ``stage`` is ``pretrain`` or ``finetune``."""
        return self.folder / "runs" / f"{stage}-{network.name}"

    def model(self, network: Network) -> Path:
        """The finished network."""
        return self.run(network, "finetune") / "model.safetensors"

    def scores_path(self, measurement: Measurement) -> Path:
        """Where the scores of a measurement are kept."""
        return self.folder / "measurements" / f"{measurement.name}.json"

    def scores(self, measurement: Measurement) -> list[PairScore]:
        """The finished scores of a measurement, pair by pair; raises InputError if they are damaged."""
        path = self.scores_path(measurement)
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["scores"]
            return [PairScore.from_dict(cell["score"]) for cell in cells]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged; delete it, and it is computed again.") from error

    def claim(self) -> None:
        """Note in the folder what it is of; raises InputError if it holds a study of another budget or other data."""
        own = {name: str(value) for name, value in asdict(self).items() if name != "folder"}
        note = writable_folder(self.folder) / NOTE
        if not note.exists():
            write_text(json.dumps(own, indent=2) + "\n", note)
        elif json.loads(note.read_text(encoding="utf-8")) != own:
            raise InputError(f"{self.folder} holds an experiment of another budget or other data; give another folder.")
