"""Prepare, train a segmentation network, complete the annotations, pretrain, fine-tune, evaluate: in one go."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mics.data.cohorts.case import Cohort
from mics.data.cohorts.catalogue import open_cohorts
from mics.data.manifest import Entry, moved, write_manifest
from mics.data.prepare import prepare
from mics.data.workers import default_workers
from mics.files.folder import own_folder
from mics.network.weights import load_model
from mics.pipeline.plan import ExistingModel, Plan, Training
from mics.pipeline.possible import require_held_out, require_models, require_multiples, require_subjects
from mics.pipeline.segmentation_scores import TABLE, score_segmentation
from mics.pipeline.stages import digest, once, state
from mics.pipeline.validation import RESULT, evaluate
from mics.pseudo_labels.complete import complete
from mics.registration.affine import register_affine
from mics.registration.device import choose_device
from mics.training.recipe import load_recipe
from mics.training.run import MODEL
from mics.training.start import RUN, resume, start

Progress = Callable[[str], None]

PREPARED = "prepared"


def run(plan: Plan, output: Path, *, device: str = "auto", progress: Progress = lambda _: None) -> dict[str, Path]:
    """Do what ``plan`` says in the folder ``output``; returns where each stage's output is.

    Every stage calls what the command of that name calls. What is current is not done again: cases and predictions one by
    one, trainings and the evaluation as a whole, each in a folder named after its inputs; a training that was stopped goes
    on. ``progress`` is called with what begins. Raises :class:`InputError` as the stages do, and for
    what no stage could use before the first of them begins.
    """
    chosen = choose_device(device)
    spacings = require_models(plan)
    cohorts = open_cohorts(dict(plan.cohorts))
    if not plan.unannotated:
        cohorts = {name: _annotated(cohort) for name, cohort in cohorts.items()}
    require_held_out(plan, cohorts)
    require_subjects([case.split for case in cohorts[plan.finetune_cohort].cases], plan.finetune_cohort)
    require_multiples(spacings, plan.spacing_mm)
    with own_folder(output, PREPARED, "a pipeline"):
        return _run(plan, cohorts, output, chosen, progress)


def _run(
    plan: Plan, cohorts: dict[str, Cohort], output: Path, device: torch.device, progress: Progress
) -> dict[str, Path]:
    prepared, completed = output / PREPARED, output / "pseudo-labels"
    progress(f"prepare: in {prepared}")
    rows = prepare(
        cohorts,
        prepared,
        affine=register_affine,
        reference=plan.reference,
        spacing_mm=plan.spacing_mm,
        size=plan.size,
        workers=plan.workers or default_workers(),
        scheduler=plan.scheduler,
        progress=lambda entry: _report(entry, progress),
    )
    places: dict[str, Path] = {}
    usable = [row for row in rows if row.status == "prepared" and row.cohort == plan.finetune_cohort]
    require_subjects([row.split for row in usable], plan.finetune_cohort)
    if isinstance(plan.segmentation, ExistingModel):
        organs = plan.segmentation.model
    else:
        organs, shown = _segmentation(plan, plan.segmentation, rows, prepared, output, device, progress)
        places["segmentation scores"] = shown
    progress(f"pseudo-labels: in {completed}")
    complete(prepared, completed, model=organs, device=device, progress=lambda name: progress(f"  predicted {name}"))
    pretrained = _train("pretrain", plan.pretrain, completed, output, progress)
    annotated = output / "finetune-data"
    annotated.mkdir(exist_ok=True)
    write_manifest([moved(row, prepared, annotated) for row in rows if row.cohort == plan.finetune_cohort], annotated)
    tuning = plan.finetune.model_copy(update={"initial": plan.finetune.initial or str(pretrained)})
    tuned = _train("finetune", tuning, annotated, output, progress)
    scores = once(
        "evaluate",
        output,
        {"model": digest(tuned / MODEL), "data": state(annotated)},
        lambda folder: evaluate(
            annotated, folder, model=tuned / MODEL, device=str(device), progress=lambda pair: progress(f"  {pair}")
        ),
        progress,
    )
    return {
        **places,
        "prepared": prepared,
        "segmentation": Path(organs),
        "pseudo-labels": completed,
        "pretrain": pretrained,
        "finetune": tuned,
        "evaluate": scores / RESULT,
    }


def _annotated(cohort: Cohort) -> Cohort:
    """Without those subjects for training of whom nothing is annotated."""
    kept = [case for case in cohort.cases if case.organs or case.split != "train"]
    return replace(cohort, cases=kept)


def _segmentation(
    plan: Plan,
    training: Training,
    rows: list[Entry],
    prepared: Path,
    output: Path,
    device: torch.device,
    progress: Progress,
) -> tuple[str, Path]:
    """The folder of the trained segmentation network, and the file of its scores on the subjects held out of its training."""
    held_out = {f"{cohort}_{name}" for cohort, names in plan.segmentation_validation.items() for name in names}
    data = output / "segmentation-data"
    data.mkdir(exist_ok=True)
    changed = [row.model_copy(update={"split": "val"}) if row.name in held_out else row for row in rows]
    write_manifest([moved(row, prepared, data) for row in changed], data)
    organs = _train("segmentation", training, data, output, progress)
    scores = once(
        "segmentation-scores",
        output,
        {"model": digest(organs / MODEL), "data": state(data)},
        lambda folder: score_segmentation(data, folder, model=organs / MODEL, device=device, progress=progress),
        progress,
    )
    progress((scores / TABLE).read_text(encoding="utf-8"))
    return str(organs), scores / TABLE


def _report(entry: Entry, progress: Progress) -> None:
    """What became of a case, and what is odd about it."""
    progress(f"  {entry.status} {entry.name} {entry.reason}".rstrip())
    for warning in entry.warnings:
        progress(f"    {warning}")


def _train(name: str, training: Training, data: Path, output: Path, progress: Progress) -> Path:
    """The folder of a run with these settings on the cases of ``data``."""
    inputs: dict[str, Any] = {
        "recipe": load_recipe(training.recipe, training.set).model_dump(mode="json"),
        "data": state(data),
        "initial": None if training.initial is None else load_model(training.initial).sha256,
    }

    def work(folder: Path) -> None:
        if (folder / RUN).is_file():
            resume(folder, progress=False)
        else:
            start(training.recipe, str(data), folder, overrides=training.set, initial=training.initial, progress=False)

    return once(name, output, inputs, work, progress)
