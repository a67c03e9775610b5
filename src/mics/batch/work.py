"""One pair in a worker: read, registered by models that the process keeps, written whole."""

import json
import shutil
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mics.batch.listing import ListedPair
from mics.batch.table import PairOutcome
from mics.choices import Lesions, Refine, Topology
from mics.data.label_names import files_that_name
from mics.data.manifest import reason
from mics.data.pairs import ROLES
from mics.data.state import location_of, state_of
from mics.deformation.provenance import provenance_path
from mics.errors import RunError
from mics.files.folder import refuse_foreign
from mics.files.whole import folder_beside, give_name, write_text
from mics.registration.inputs import PairArguments
from mics.registration.registrar import Registrar
from mics.report.files import RESULT_FILES, pictures
from mics.report.thumbnail import write_thumbnail
from mics.run_summary import RunSummary, read_summary

SUMMARY, SOURCE, THUMBNAIL = "summary.json", "source.json", "thumbnail.jpg"
_FILES = (*RESULT_FILES, SOURCE, THUMBNAIL)

_AT_WORK = threading.Lock()
"""One pair of a process is registered while others are read and written: they would share its cores or its GPU."""
_READY = threading.Lock()
_STOP = threading.Event()


@dataclass(frozen=True)
class BatchSettings:
    """What all pairs of a batch have in common; plain, as workers on other machines get it."""

    affine: str
    steps: int | None
    model: str
    refine: Refine
    topology: Topology
    steer: tuple[str | int, ...]
    landmark_tolerance_mm: float | None
    same_patient: bool
    lesions: Lesions
    device: str
    label_names: str | None
    tolerance_mm: float


@dataclass(frozen=True)
class PairTask:
    """All that a worker needs for one pair; ``folder`` is the batch's."""

    pair: ListedPair
    folder: Path
    settings: BatchSettings

    @property
    def results_folder(self) -> Path:
        """Folder of the pair's results."""
        return self.folder / self.pair.name


def register_pair(task: PairTask) -> PairOutcome:
    """Register a pair and write its folder, which appears whole or not at all.

    Raises InputError for a pair that cannot be registered, and where its folder holds what is not this batch's.
    """
    _refuse_others(task.results_folder)
    settings, files = task.settings, task.pair.files
    source = source_of(task)
    with _READY:
        registrar = kept_registrar(settings, own_device(settings.device))
    given: PairArguments = {
        "label_names": settings.label_names if {"fixed_labels", "moving_labels"} & files.keys() else None,
        "fixed_labels": files.get("fixed_labels"),
        "moving_labels": files.get("moving_labels"),
        "fixed_landmarks": files.get("fixed_landmarks"),
        "moving_landmarks": files.get("moving_landmarks"),
        "fixed_exclude": files.get("fixed_exclude"),
        "moving_exclude": files.get("moving_exclude"),
        "fixed_lesions": files.get("fixed_lesions"),
        "moving_lesions": files.get("moving_lesions"),
    }
    inputs = registrar.read(files["fixed_image"], files["moving_image"], progress=_refuse_stopped, **given)
    with _AT_WORK:
        result = registrar.register(inputs, progress=_refuse_stopped)
    del inputs
    _refuse_stopped("Writing")
    with folder_beside(task.results_folder) as unfinished:
        beside = {
            **pictures(result),
            THUMBNAIL: lambda path: write_thumbnail(result, path),
            SOURCE: lambda path: write_text(json.dumps(source, indent=1) + "\n", path),
        }
        summary = result.save(unfinished, beside=beside, tolerance_mm=settings.tolerance_mm)
        _refuse_others(task.results_folder)
        if task.results_folder.exists():  # ours, of files that have changed since
            shutil.rmtree(task.results_folder)
        give_name(unfinished, task.results_folder)
    return PairOutcome(task.pair, RunSummary.model_validate(summary))


def finished(task: PairTask) -> RunSummary | None:
    """The summary of a pair whose transforms are there already, whole and from the same files; else None."""
    try:
        known = json.loads((task.results_folder / SOURCE).read_text(encoding="utf-8"))
        summary = read_summary(task.results_folder / SUMMARY)
    except (OSError, ValueError):
        return None
    there = all(
        provenance_path(path := task.results_folder / f"transform_{direction}.nii.gz").exists()
        and path.exists()
        and path.stat().st_size == stored.bytes
        for direction, stored in (summary.stored_transforms or {}).items()
    )
    return summary if there and known == source_of(task) else None


def _refuse_others(folder: Path) -> None:
    """Raise RunError where a pair's folder is none that a batch wrote, or holds a file that is none of its results."""
    if folder.exists() and not (folder / SOURCE).exists():
        raise RunError(f"{folder} is in the way and none of this batch's results: move it away.")
    refuse_foreign(folder, _FILES, "the results of a pair")


def source_of(task: PairTask) -> dict[str, Any]:
    """The state by which it shows that results depend on another file than before, or were made by another version of MICS.

    Files are told apart by a checksum of where they lie, so that a pair's folder can be handed on.
    """
    files = dict(task.pair.files)
    for role in ROLES:
        if labels := files.get(f"{role}_labels"):
            files |= {f"{role}_{path.name}": path for path in files_that_name(labels)}
    labelled = {"fixed_labels", "moving_labels"} & files.keys()
    for kind, value in (
        ("affine", task.settings.affine),
        ("label_names", task.settings.label_names if labelled else None),
    ):
        if value is not None and Path(value).is_file():
            files[kind] = Path(value)
    states = {kind: [location_of(path), *state_of(path)] for kind, path in sorted(files.items())}
    return {"mics_version": version("mics-registration"), **states}


def not_registered(task: PairTask, error: Exception) -> PairOutcome:
    """What is reported of a pair whose registration ended with an error."""
    message = task.pair.with_listed_names(reason(error))
    settings = task.settings
    for path in (settings.affine, settings.label_names, settings.model, str(task.folder)):
        if path is not None and "/" in path:
            message = message.replace(path, Path(path).name)
    return PairOutcome(task.pair, error=message)


def stop() -> None:
    """Let the threads of this process end at their next step."""
    _STOP.set()


def go_on() -> None:
    """The opposite of :func:`stop`, before new work."""
    _STOP.clear()


@cache
def kept_registrar(settings: BatchSettings, device: str) -> Registrar:
    """The process's own, its models loaded once."""
    return Registrar(
        affine=settings.affine,
        steps=settings.steps,
        model=settings.model,
        refine=settings.refine,
        topology=settings.topology,
        steer=settings.steer,
        landmark_tolerance_mm=settings.landmark_tolerance_mm,
        same_patient=settings.same_patient,
        lesions=settings.lesions,
        device=device,
    )


def own_device(device: str) -> str:
    """One GPU for each worker of a local cluster, whose names are numbers; elsewhere the first that the worker sees."""
    if device != "auto" or not torch.cuda.is_available():
        return device
    name = _worker_name()
    return f"cuda:{name % torch.cuda.device_count()}" if isinstance(name, int) else "cuda:0"


def _worker_name() -> object:
    distributed = sys.modules.get("distributed")
    try:
        return distributed.get_worker().name if distributed is not None else None
    except ValueError:  # this process is none
        return None


def _refuse_stopped(_: str) -> None:
    if _STOP.is_set():
        raise RunError("The batch was stopped.")
