"""The folder of an experiment: what has been trained and measured in it, and where the rest goes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mics.data.pairs import PairSource, read_pairs
from mics.errors import InputError, RunError
from mics.evaluation.metrics import dice
from mics.evaluation.pair_score import PairScore
from mics.experiments.budgets import Budget, budget_of
from mics.experiments.plan import Measurement, PaperNetwork
from mics.files.whole import write_text
from mics.organs import ORGAN_NAMES
from mics.training.source import source_of

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

    def pairs(self) -> list[PairSource]:
        """The validation pairs."""
        return read_pairs(self.data, both_directions=self.budget.both_ways, needs=("image", "labels"))

    def unregistered_dice(self) -> float:
        """Mean Dice of the validation pairs as they are."""
        overlaps = [dice(pair.fixed.labels().array, pair.moving.labels().array, ORGAN_NAMES) for pair in self.pairs()]
        return float(np.mean([np.mean(list(overlap.values())) for overlap in overlaps]))

    def run(self, network: PaperNetwork, stage: str) -> Path:
        """Folder of a training run; ``stage`` is one of the network's."""
        return self.folder / "runs" / f"{stage}-{network.name}"

    def model(self, network: PaperNetwork) -> Path:
        """The finished network."""
        return self.run(network, network.stages[-1]) / "model.safetensors"

    def scores_path(self, measurement: Measurement) -> Path:
        """Where the scores of a measurement are kept."""
        return self.folder / "measurements" / f"{measurement.name}.json"

    def scores(self, measurement: Measurement) -> list[PairScore]:
        """The finished scores of a measurement, pair by pair; raises InputError if they are damaged."""
        path = self.scores_path(measurement)
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["scores"]
            return [PairScore.from_dict(cell["score"]) for cell in cells]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is damaged; delete it, and it is computed again.") from error

    def state(self) -> str:
        """Changes with the files of the data; raises InputError for data that cannot be read."""
        sources = [source_of(data, 1.0, None, 0) for data in (str(self.data), self.pretraining)]
        return hashlib.sha256("".join(source.model_dump_json() for source in sources).encode()).hexdigest()

    def pin_inputs(self, state: str) -> None:
        """Note in the folder what it is of.

        ``state`` is that of the data (:meth:`state`), or nothing where they are made there. Raises InputError if it holds a
        study of another budget or other data, or of these before they changed.
        """
        own = {name: str(value) for name, value in asdict(self).items() if name != "folder"} | {"state": state}
        note = self.folder / NOTE
        if not note.exists():
            write_text(json.dumps(own, indent=2) + "\n", note)
            return
        try:
            earlier = json.loads(note.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{note} is damaged; give another folder.") from error
        if earlier != own:
            raise RunError(
                f"{self.folder} holds an experiment of another budget or other data, or of these data before they changed; "
                "give another folder."
            )
