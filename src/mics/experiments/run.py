"""The paper's tables and figures, each from its grid of trainings and measurements: ``mics experiment``."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

from mics.choices import BudgetName, Experiment
from mics.errors import SettingError, counted
from mics.experiments.budgets import budget_of
from mics.experiments.cells import cells_for
from mics.experiments.phantom_data import write_phantoms
from mics.experiments.schedule import require_devices, run_cells
from mics.experiments.study import NOTE, Study
from mics.files.folder import own_folder
from mics.files.whole import write_text

EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)


def experiment(
    name: Experiment,
    output: str | Path,
    *,
    budget: BudgetName = "smoke",
    data: str | Path | None = None,
    pretraining: str | None = None,
    devices: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """Run a table or figure of the paper and write ``NAME.md`` (and ``NAME.png``) into ``output``; returns the text.

    - ``name``: one of :data:`EXPERIMENTS`; ``budget``: ``smoke``, ``small`` or ``paper``.
    - ``data``: a folder in the Learn2Reg layout, whose validation pairs are measured; smoke makes its own phantoms.
    - ``pretraining``: data of the pretraining, as ``mics train --data`` takes them; small pretrains on phantoms without it.
    - ``devices``: ``cpu`` or ``cuda:N``, two or more: the cells are spread over them by Dask.

    ``output`` keeps every finished training and measurement, and other tables and figures of the same budget and data use
    them; what is interrupted goes on there. Raises InputError for unknown names, missing data, and a folder that holds an
    experiment of another budget or other data, of these before they changed, or something else, or into which another
    run writes.
    """
    if name not in EXPERIMENTS:
        raise SettingError(f"There is no experiment {name!r}; choose one of {', '.join(EXPERIMENTS)}.")
    module = import_module(f"mics.experiments.{name}")
    require_devices(devices)
    study = _study(Path(output).resolve(), budget, data, pretraining)
    state = "" if budget == "smoke" else _checked(study)
    with own_folder(study.folder, NOTE, "an experiment"):
        study.pin_inputs(state)
        if budget == "smoke":
            write_phantoms(study.data)
        run_cells(cells_for(module.cells(sweep_ends=study.budget.sweep_ends)), study, devices, progress)
        progress(f"writing {name}")
        text = f"{_heading(name, study)}\n\n{module.write(study)}"
        write_text(text, study.folder / f"{name}.md")
    return text


def _checked(study: Study) -> str:
    """The state of the data; raises InputError, before anything is written, for what cannot be read."""
    study.pairs()
    return study.state()


def _study(folder: Path, budget: str, data: str | Path | None, pretraining: str | None) -> Study:
    settings = budget_of(budget)
    if budget == "smoke":
        if data is not None or pretraining is not None:
            raise SettingError("The budget smoke makes its own phantoms: leave out the data, or take small or paper.")
        return Study(folder, budget, folder / "phantoms", str(folder / "phantoms"))
    if data is None:
        raise SettingError(f"The budget {budget} needs data: a folder in the Learn2Reg layout.")
    source = pretraining or settings.pretraining
    if source is None:
        raise SettingError(f"The budget {budget} needs data for the pretraining, of any kind that a training takes.")
    source = str(Path(source).resolve()) if Path(source).exists() else source
    return Study(folder, budget, Path(data).resolve(), source)


def _heading(name: str, study: Study) -> str:
    stages = {"pretraining": study.budget.pretrain, "fine-tuning": study.budget.finetune}
    if name == "table4":
        stages["LapIRN"] = study.budget.lapirn
    recipes = [f"{stage} {' '.join((recipe, *changes))}" for stage, (recipe, changes) in stages.items()]
    pairs = f"{counted(len(study.pairs()), 'validation pair')}, unregistered Dice {study.unregistered_dice():.3f}"
    return f"# {name}\n\nBudget {study.budget_name}: {', '.join(recipes)}; {pairs}."
