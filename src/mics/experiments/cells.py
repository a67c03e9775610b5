"""The cells of an experiment: preparing data, training stages, measurements; each is done once, and whole."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mics.evaluation.evaluate import landmarks_of
from mics.evaluation.learn2reg import from_transform
from mics.evaluation.pair_score import score_pair
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.study import Study
from mics.files.whole import write_text
from mics.registration.register import register
from mics.training.cases import prepare
from mics.training.recipe import Recipe, load_recipe
from mics.training.run import train


@dataclass(frozen=True)
class Prepare:
    """Training cases of one stage's data at the recipe's spacing."""

    stage: str

    @property
    def name(self) -> str:
        """Shown when it begins."""
        return f"cases-{self.stage}"

    def done(self, study: Study) -> bool:
        """Whether all cases are there."""
        return (_cases(study, self.stage) / "complete").is_file()

    def run(self, study: Study) -> None:
        """Prepare the cases that are missing."""
        data = study.pretraining if self.stage == "pretrain" else str(study.data)
        folder = _cases(study, self.stage)
        recipe = _base(study, self.stage)
        prepare(
            data,
            folder / "cases",
            recipe.spacing_mm,
            organ_maps=recipe.organ_maps,
            phase_variants=recipe.phase_variants,
        )
        write_text(f"{data}\n", folder / "complete")


@dataclass(frozen=True)
class Train:
    """One stage of a network's training; an interrupted one goes on."""

    network: PaperNetwork
    stage: str

    @property
    def name(self) -> str:
        """Shown when it begins."""
        return f"{self.stage}-{self.network.name}"

    def done(self, study: Study) -> bool:
        """Whether the model is there; its card is written last."""
        return (study.run(self.network, self.stage) / "model.json").is_file()

    def run(self, study: Study) -> None:
        """Train, from the pretrained weights if there are any."""
        output = study.run(self.network, self.stage)
        initial = None
        if (before := _before(self)) is not None:
            initial = study.run(self.network, before.stage) / "model.safetensors"
        cases = _cases(study, self.stage) / "cases"
        train(recipe_of(study, self), cases, output, initial=initial, resume=output.is_dir(), progress=False)


@dataclass(frozen=True)
class Evaluate:
    """A network on all validation pairs, at their full resolution and without refinement."""

    measurement: Measurement

    @property
    def name(self) -> str:
        """Shown when it begins."""
        return f"measure-{self.measurement.name}"

    def done(self, study: Study) -> bool:
        """Whether its scores are there; raises InputError where they are damaged."""
        return study.scores_path(self.measurement).is_file() and bool(study.scores(self.measurement))

    def run(self, study: Study) -> None:
        """Register and score every pair. No affine: the challenge's data are aligned already, and so is the phantom."""
        scores = []
        for pair in study.pairs():
            model, steps = study.model(self.measurement.network), self.measurement.steps
            fixed, moving = pair.fixed.image(), pair.moving.image()
            result = register(fixed, moving, affine="none", model=model, steps=steps, refine="none")
            forward = from_transform(result.moving_to_fixed, moving.grid)
            labels = pair.fixed.labels(), pair.moving.labels()
            seconds = result.run_summary.total_seconds
            # No table or figure of the paper shows the inverse error, which would take a fifth of the time.
            score = score_pair(*labels, forward, landmarks=landmarks_of(pair), seconds=seconds)
            scores.append({"pair": pair.name, "score": score.to_dict()})
        path = study.scores_path(self.measurement)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps({"scores": scores}) + "\n", path)


Cell = Prepare | Train | Evaluate


def cells_for(wanted: list[PaperNetwork | Measurement]) -> list[Cell]:
    """All cells that networks and measurements need, each once and after those it needs."""
    cells: dict[Cell, None] = {}
    for item in wanted:
        network = item if isinstance(item, PaperNetwork) else item.network
        for stage in network.stages:
            cells[Prepare(stage)] = cells[Train(network, stage)] = None
        if isinstance(item, Measurement):
            cells[Evaluate(item)] = None
    return list(cells)


def needs(cell: Cell) -> list[Cell]:
    """The cells that must be done before this one."""
    if isinstance(cell, Prepare):
        return []
    if isinstance(cell, Evaluate):
        network = cell.measurement.network
        return [Train(network, network.stages[-1])]
    before = _before(cell)
    return [Prepare(cell.stage)] if before is None else [Prepare(cell.stage), before]


def recipe_of(study: Study, cell: Train) -> Recipe:
    """The budget's recipe with the network's steps, weights and, when pretraining, organs."""
    if cell.network.kind != "mics":
        return _base(study, cell.stage)
    base = _base(study, cell.stage, study.budget.one_step if cell.network.steps == 1 else "")
    changes: dict[str, Any] = {"steps": cell.network.steps, "losses": cell.network.weights(base.losses)}
    if cell.stage == "pretrain":
        changes["supervised_organs"] = cell.network.organs
        if cell.network.long_pretraining:
            changes["epochs"] = 2 * base.epochs
    return base.model_copy(update=changes)


def _before(cell: Train) -> Train | None:
    """The stage of the same network from whose weights this one starts."""
    place = cell.network.stages.index(cell.stage)
    return Train(cell.network, cell.network.stages[place - 1]) if place else None


def _base(study: Study, stage: str, ending: str = "") -> Recipe:
    budget = study.budget
    name, overrides = {"pretrain": budget.pretrain, "finetune": budget.finetune, "lapirn": budget.lapirn}[stage]
    return load_recipe(name + ending, list(overrides))


def _cases(study: Study, stage: str) -> Path:
    return study.folder / "cases" / stage
