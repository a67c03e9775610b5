"""A batch: every pair registered into one folder, continued where it was stopped."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mics.batch.listing import ListedPair, as_csv
from mics.batch.table import PairOutcome, results_csv
from mics.batch.work import (
    THUMBNAIL,
    BatchSettings,
    PairTask,
    finished,
    go_on,
    kept_registrar,
    not_registered,
    own_device,
    register_pair,
    stop,
)
from mics.choices import Lesions, Refine, Topology
from mics.data.workers import default_workers, each, require_scheduler
from mics.deformation.compact import TOLERANCE_MM, refuse_tolerance
from mics.errors import InputError, RunError, SettingError, require_type
from mics.files.folder import own_folder
from mics.files.whole import write_text
from mics.network.weights import DEFAULT_REGISTRATION, load_model_for
from mics.report.review import PAGE, Reviewed, write_review

MARK, PAIRS, RESULTS = "batch.json", "pairs.csv", "results.csv"
_FILES = ("affine", "label_names")  # settings that may be files

_WORK_AND_WRITE = 2
"""Threads where the networks run on the CPU: one registers while the other reads and writes."""
_AT_A_GPU = 4
"""Threads where they run on a GPU: a pair takes it less long than reading and compressing take a core."""


def register_pairs(
    pairs: Sequence[ListedPair],
    output: str | Path,
    *,
    affine: str = "organs",
    steps: int | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: Refine = "fast",
    topology: Topology = "free",
    steer: Sequence[str | int] = (),
    landmark_tolerance_mm: float | None = None,
    same_patient: bool = False,
    lesions: Lesions = "keep",
    device: str = "auto",
    label_names: str | Path | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    workers: int | None = 1,
    scheduler: str | None = None,
    progress: Callable[[PairOutcome, int, int], None] = lambda outcome, done, of: None,
) -> list[PairOutcome]:
    """Register many pairs into one folder, each into a folder of its name.

    A pair's folder holds what :meth:`mics.Registration.save` writes, ``overview.png`` and ``report.html``, and appears whole or
    not at all. Pairs that are there, from the same files and by the same version of MICS, stay; so a batch that was stopped or
    killed goes on. Beside them lie
    ``results.csv`` (a row a pair), ``review.html`` (a page to look at, worst first) and ``pairs.csv``: those of ``pairs`` that
    are there, with label maps where any has them, as a list for :func:`mics.evaluate`.

    Args:
        pairs: of :func:`mics.batch.listing.listed_pairs` or :func:`mics.batch.listing.pairs_of_folder`.
        output: a new or empty folder, or one of a batch with the same settings.
        affine, steps, model, refine, topology, steer, landmark_tolerance_mm, same_patient, lesions, device, label_names: as of
            :func:`mics.register`, for all pairs.
        tolerance_mm: by how much stored transforms may be off at any voxel, to be small.
        workers: processes of this machine; None for one a GPU, or on the CPU for as many as there are cores and memory for.
        scheduler: address of a Dask scheduler whose workers are used, one process a device, files where they see them too.
        progress: called with each outcome, and how many of how many are done.

    Returns:
        What became of each pair, in the order of ``pairs``. One that cannot be registered does not stop the others.

    Raises:
        InputError: for settings that are unusable, a folder that holds something else or other settings, or is being written to.
    """
    require_type(affine, (str, os.PathLike), "The affine of a batch is organs, ants, none or a file")
    steer = (steer,) if isinstance(steer, str) else steer
    require_type(steer, (list, tuple), "What steers is a list of labels, landmarks and single labels")
    refuse_tolerance(tolerance_mm)
    settings = BatchSettings(
        affine=affine if affine in ("organs", "ants", "none") else str(Path(affine).absolute()),
        steps=steps,
        model=str(Path(model).absolute()) if Path(model).exists() else str(model),
        refine=refine,
        topology=topology,
        steer=tuple(steer),
        landmark_tolerance_mm=landmark_tolerance_mm,
        same_patient=same_patient,
        lesions=lesions,
        device=device,
        label_names=None if label_names is None else str(Path(label_names).absolute()),
        tolerance_mm=tolerance_mm,
    )
    if not pairs:
        raise SettingError("A batch needs at least one pair.")
    output = Path(output).absolute()
    require_scheduler(workers or 1, scheduler)
    # Settings are refused here and not by every pair; what a remote worker has for a device is its own matter.
    kept_registrar(settings, "cpu" if scheduler else own_device(device))
    go_on()
    with own_folder(output, MARK, "a batch of registrations"):
        _pin_settings(output, settings)
        _refuse_one_folder_for_two(output, pairs)
        _clear_unfinished(output, pairs)
        tasks = [PairTask(pair, output, settings) for pair in pairs]
        found = {
            task.pair.name: PairOutcome(task.pair, summary) for task in tasks if (summary := finished(task)) is not None
        }
        unfinished = [task for task in tasks if task.pair.name not in found]
        outcomes = _outcomes(unfinished, workers, scheduler, device)
        return _collected(outcomes, found, pairs, output, progress)


def _collected(
    outcomes: Iterable[PairOutcome],
    found: dict[str, PairOutcome],
    pairs: Sequence[ListedPair],
    output: Path,
    progress: Callable[[PairOutcome, int, int], None],
) -> list[PairOutcome]:
    """Those that are ``found`` already and those that come, in the order of ``pairs``; the table grows with each of them."""
    try:
        for outcome in outcomes:
            found[outcome.pair.name] = outcome
            _write_tables(_in_order(pairs, found), output)
            progress(outcome, len(found), len(pairs))
    finally:
        ordered = _in_order(pairs, found)
        _write_tables(ordered, output)
        write_review([_reviewed(outcome, output) for outcome in ordered], output / PAGE)
    return ordered


def _write_tables(outcomes: Sequence[PairOutcome], output: Path) -> None:
    """What has become of each pair, and the list of those that can be evaluated: registered, and with labels if any has them."""
    write_text(results_csv(outcomes), output / RESULTS)
    registered = [outcome.pair for outcome in outcomes if outcome.summary is not None]
    labelled = [pair for pair in registered if pair.files.keys() >= {"fixed_labels", "moving_labels"}]
    write_text(as_csv(labelled or registered), output / PAIRS)


def _outcomes(
    tasks: Sequence[PairTask], workers: int | None, scheduler: str | None, device: str
) -> Iterator[PairOutcome]:
    gpus = torch.cuda.device_count() if device == "auto" else int(device.startswith("cuda"))
    usual = default_workers() if gpus == 0 else gpus if find_spec("distributed") else 1
    count = workers or usual
    # As many processes as there are cores leave none to read and write meanwhile.
    threads = _AT_A_GPU if gpus else _WORK_AND_WRITE if min(count, len(tasks)) == 1 else 1
    return each(
        register_pair,
        tasks,
        workers=max(1, min(count, len(tasks))),
        threads=threads,
        scheduler=scheduler,
        failed=not_registered,
        stop=stop,
    )


def _pin_settings(output: Path, settings: BatchSettings) -> None:
    """Note the settings in a new folder; raise InputError where it holds results of others."""
    own = _noted(settings)
    try:
        known = json.loads((output / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = own
    except (OSError, ValueError) as error:
        raise RunError(f"{output / MARK} cannot be read ({error}): give a new folder.") from error
    if not isinstance(known, dict):
        raise RunError(f"{output / MARK} is not that of a batch: give a new folder.")
    for key in _FILES:  # earlier versions kept their folders too
        if isinstance(known.get(key), str):
            known[key] = Path(known[key]).name
    if other := [key for key in own if known.get(key) != own[key]]:
        raise RunError(
            f"{output} holds results with {other[0]} {known.get(other[0])} and not {own[other[0]]}: give a new folder, or the "
            "settings that it was begun with."
        )
    write_text(json.dumps(own, indent=2) + "\n", output / MARK)


def _refuse_one_folder_for_two(output: Path, pairs: Sequence[ListedPair]) -> None:
    """Raise InputError for names that differ in capitals alone where the disk, as macOS's and Windows', takes them for one."""
    if not (output / MARK.upper()).exists():
        return
    known: dict[str, str] = {}
    for pair in pairs:
        if (other := known.setdefault(pair.name.casefold(), pair.name)) != pair.name:
            raise InputError(
                f"{other} and {pair.name} would be one folder in {output}, whose disk does not tell capitals apart: give one of "
                "the scans another name."
            )


def _clear_unfinished(output: Path, pairs: Sequence[ListedPair]) -> None:
    """Remove what a killed batch left behind unfinished."""
    for pair in pairs:
        for unfinished in output.glob(f".{_literal(pair.name)}-????????"):
            shutil.rmtree(unfinished, ignore_errors=True)
    for name in map(Path, (MARK, PAIRS, RESULTS, PAGE)):
        for left in output.glob(f".{name.stem}-????????{name.suffix}"):
            left.unlink(missing_ok=True)


def _noted(settings: BatchSettings) -> dict[str, Any]:
    """The settings that all results of a folder have in common, files by their own names: each pair knows their states."""
    model = load_model_for("registration", settings.model)
    plain = {**dataclasses.asdict(settings), "steer": list(settings.steer)}
    own = {key: Path(value).name for key in _FILES if (value := plain[key]) is not None}
    noted = {**plain, **own, "model": model.name, "model_sha256": model.sha256}
    del noted["device"]
    return noted


def _literal(name: str) -> str:
    """A name for ``glob``, in which brackets mean something else."""
    return name.replace("[", "[[]")


def _in_order(pairs: Sequence[ListedPair], found: dict[str, PairOutcome]) -> list[PairOutcome]:
    return [found[pair.name] for pair in pairs if pair.name in found]


def _reviewed(outcome: PairOutcome, folder: Path) -> Reviewed:
    thumbnail = folder / outcome.pair.name / THUMBNAIL
    picture = thumbnail.read_bytes() if outcome.summary is not None and thumbnail.exists() else None
    return Reviewed(outcome.pair.fixed, outcome.pair.moving, outcome.pair.name, outcome.summary, outcome.error, picture)
