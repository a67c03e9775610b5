"""A training set with more subjects in it: scans in the shape of label maps without one, and part of the way between subjects."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mics.data.cohorts.case import Case
from mics.data.cohorts.learn2reg import LEARN2REG, label_maps
from mics.data.frame import choose_reference, full_name
from mics.data.manifest import (
    MANIFEST,
    Entry,
    make_folder,
    moved,
    read_manifest,
    reason,
    record_entry,
    recorded_entry,
    write_manifest,
)
from mics.data.prepare import IMAGES, LABELS, PREVIEWS, prepare
from mics.data.preview import write_preview
from mics.data.workers import each
from mics.errors import GeometryError, InputError, RunError, SettingError
from mics.evaluation.metrics import dice
from mics.files.folder import own_folder
from mics.image.grid import GRID_TOLERANCE_VOXELS, Grid
from mics.image.io import Image, read_image, read_labels, write_image
from mics.image.lattice import difference
from mics.organs import ORGAN_NAMES
from mics.pipeline.reshape import SETTINGS, fit, reshaped
from mics.pipeline.source_cases import LabelledCase, best_source_cases, coarse_shares, read_labelled_case
from mics.pipeline.stages import digest
from mics.registration.affine import register_affine

COHORT = "synthesised"
ORIGINALS, RECORDS = "originals", "synthesised"
_MAX_CASES = 1000
MIN_DICE = 0.5
"""Of the warped organs and those of the label map, on average: below, the source case has not taken on the shape."""

_TOWARDS, _AWAY = (0.3, 0.8), (-0.4, -0.15)
"""Shares of the way from one training subject's shape to another's."""
_AWAY_PROBABILITY = 0.3

Progress = Callable[[Entry], None]


@dataclass(frozen=True)
class SynthesisTask:
    """One subject to make: the scan of ``source_case``, a row of the manifest in ``root``, in the shape of ``target_labels``
    (``path``).

    ``share`` of the way from the source case's own shape is gone (:func:`mics.pipeline.reshape.fit`).
    """

    name: str
    source_case: Entry
    root: Path
    path: Path
    target_labels: Image
    output: Path
    share: float = 1.0


def synthesise(
    data: str | Path,
    labels: str | Path | None,
    output: str | Path,
    *,
    source_cases: int = 3,
    between: int = 0,
    progress: Progress = lambda _: None,
) -> list[Entry]:
    """Write all subjects of ``data``, and one for each label map and each of its best source cases, as a prepared set.

    ``data`` is a folder of :func:`mics.data.prepare.prepare`, whose volumes are used where they are, or a Learn2Reg folder,
    which is prepared into ``output/originals``. ``labels`` is a folder of label maps (``*.nii.gz``) on the same grid. For each
    the ``source_cases`` training subjects whose organs lie most like its own are registered to it by their organs alone, and
    their scan and labels warped by that one field: the shape is that of the label map, the labels are the source case's and
    belong to the new scan exactly. Subjects of validation and test are never source cases. A subject that does not reach
    :data:`MIN_DICE`, and a label map that cannot be used, has a row that says so. Without ``labels`` there are none of these.

    With ``between``, each training subject is also brought so many times part of the way into the shape of another, or a little
    away from it: whom, and how far, follows from the names. What is there already, from the same files, stays. ``progress`` is
    called with each row that is new. Returns the manifest's rows.

    Raises :class:`InputError` if ``data`` or ``labels`` is something else, there is no source case, or ``output`` holds
    something else or is written into by another run.
    """
    data, output = Path(data).resolve(), Path(output).resolve()
    cases = [] if labels is None else label_maps(labels)
    if not 1 <= source_cases <= _MAX_CASES or not 0 <= between <= _MAX_CASES:
        raise SettingError(
            f"Give up to {_MAX_CASES} source cases for a label map, and up to {_MAX_CASES} subjects between."
        )
    if output == data:
        raise RunError(f"{output} holds the data themselves: give a new folder.")
    if (data / MANIFEST).is_file():
        _source_cases(data)
    with own_folder(output, RECORDS, "synthesised subjects"):
        return _synthesise(data, cases, output, source_cases, between, progress)


def _synthesise(
    data: Path, cases: Sequence[Case], output: Path, source_cases: int, between: int, progress: Progress
) -> list[Entry]:
    root = _prepared(data, output, progress)
    originals = read_manifest(root)
    subjects = [read_labelled_case(root, entry) for entry in originals if entry.status == "prepared" and entry.labels]
    usable = _source_cases(root)
    trained = [subject for subject in subjects if subject.entry in usable]
    for folder in (RECORDS, IMAGES, LABELS, PREVIEWS):
        make_folder(output / folder)
    grid = read_labels(root / trained[0].entry.labels).grid
    rows = [moved(entry, root, output) for entry in originals]
    for case in cases:
        try:
            target_labels, chosen = _matched(case, grid, subjects, trained, source_cases)
        except InputError as error:
            rows.append(_failed(full_name(COHORT, case), case.labels_path, error))
            progress(rows[-1])
            continue
        assert case.labels_path is not None
        tasks = [
            SynthesisTask(
                f"{subject.entry.name}_as_{case.name}", subject.entry, root, case.labels_path, target_labels, output
            )
            for subject in chosen
        ]
        rows += _made(tasks, progress)
    for subject in trained:
        rows += _made(_between(subject, trained, root, output, between), progress)
    write_manifest(rows, output)
    return sorted(rows, key=lambda row: row.name)


def _source_cases(root: Path) -> list[Entry]:
    """The training subjects whose scans can be brought into other shapes; raises InputError where there are none."""
    source_cases = [
        entry
        for entry in read_manifest(root)
        if entry.status == "prepared" and entry.labels and entry.split == "train" and entry.cohort != COHORT
    ]
    if not source_cases:
        raise InputError(f"{root / MANIFEST} lists no subject for training with labels, so there is no source case.")
    return source_cases


def _made(tasks: Sequence[SynthesisTask], progress: Progress) -> Iterator[Entry]:
    """The rows of the tasks: those that were done before, then the others as they are done."""
    current = {task.name: entry for task in tasks if (entry := _current(task)) is not None}
    yield from current.values()
    left = [task for task in tasks if task.name not in current]
    for row in each(_synthesised, left, failed=lambda task, error: _failed(task.name, task.path, error)):
        yield row
        progress(row)


def _between(
    subject: LabelledCase, subjects: Sequence[LabelledCase], root: Path, output: Path, count: int
) -> list[SynthesisTask]:
    """``subject`` part of the way towards others, or away from them."""
    others = [other.entry for other in subjects if other is not subject]
    tasks = []
    if count:
        generator = torch.Generator().manual_seed(zlib.crc32(subject.entry.name.encode()))
        for place in torch.randperm(len(others), generator=generator)[:count].tolist():
            other = others[place]
            away, how_far = torch.rand(2, generator=generator).tolist()
            low, high = _AWAY if away < _AWAY_PROBABILITY else _TOWARDS
            path = root / other.labels
            name = f"{subject.entry.name}_towards_{other.name}"
            share = low + how_far * (high - low)
            tasks.append(SynthesisTask(name, subject.entry, root, path, read_labels(path), output, share))
    return tasks


def _prepared(data: Path, output: Path, progress: Progress) -> Path:
    """The folder of the manifest of ``data``; a Learn2Reg folder, whose headers are wrong, is prepared first, on its own grid."""
    if (data / MANIFEST).is_file():
        return data
    cohorts = {LEARN2REG.name: LEARN2REG.open(data)}
    _, reference = choose_reference(cohorts, None)
    grid = reference.image().grid
    make_folder(output / RECORDS)
    prepare(
        cohorts,
        output / ORIGINALS,
        affine=register_affine,
        spacing_mm=grid.spacing[0],
        size=grid.size,
        progress=progress,
    )
    return output / ORIGINALS


def _matched(
    case: Case, grid: Grid, subjects: Sequence[LabelledCase], trained: Sequence[LabelledCase], count: int
) -> tuple[Image, list[LabelledCase]]:
    """A label map and its source cases. Raises InputError where it cannot be read, lies elsewhere, or no subject fits."""
    target_labels = case.labels()
    if not target_labels.grid.is_close(grid, GRID_TOLERANCE_VOXELS * min(grid.spacing)):
        raise GeometryError(
            f"{case.labels_path} is on another grid than the training subjects ({difference(target_labels.grid, grid)}): "
            "bring it to theirs."
        )
    shares = coarse_shares(case.name, target_labels)
    if not shares.any():
        raise InputError(f"{case.labels_path} shows none of the {len(ORGAN_NAMES)} organs.")
    same = [subject.entry for subject in subjects if np.array_equal(subject.shares, shares)]
    if same:
        raise InputError(f"{case.labels_path} is of {same[0].name} ({same[0].split}), whose scan is there: remove it.")
    chosen = best_source_cases(shares, trained, count)
    if not chosen:
        raise InputError(f"No training subject is annotated with an organ that {case.labels_path} shows.")
    return target_labels, chosen


def _synthesised(task: SynthesisTask) -> Entry:
    """Make one subject and write the files, the record last."""
    image, labels = read_image(task.root / task.source_case.image), read_labels(task.root / task.source_case.labels)
    organs = tuple(
        o for o in task.source_case.organs if (labels.array == o).any() and (task.target_labels.array == o).any()
    )
    hu, warped = reshaped(image, labels, fit(labels, task.target_labels, organs, task.share))
    before = _mean_dice(task.target_labels.array, labels.array, labels.array, organs)
    after = _mean_dice(task.target_labels.array, warped.array, labels.array, organs)
    files = {kind: f"{kind}/{task.name}.nii.gz" for kind in (IMAGES, LABELS)}
    row: dict[str, Any] = {
        "name": task.name,
        "cohort": COHORT,
        "split": "train",
        "source_image": str(task.root / task.source_case.image),
        "source_labels": str(task.path),
        "checks": {
            "organs": list(organs),
            "share": round(task.share, 3),
            "dice_before": round(before, 3),
            "dice_after": round(after, 3),
        },
    }
    if task.share == 1.0 and after < MIN_DICE:
        message = f"Left out: its organs overlap those of {task.path.name} by {after:.2f}, less than {MIN_DICE}."
        entry = Entry(**row, status="excluded", reason=message)
    else:
        write_image(hu, task.output / files[IMAGES])
        write_image(warped, task.output / files[LABELS])
        write_preview(hu, warped.array, task.output / PREVIEWS / f"{task.name}.png")
        entry = Entry(
            **row,
            status="prepared",
            organs=task.source_case.organs,
            pseudo_organs=task.source_case.pseudo_organs,
            image=files[IMAGES],
            labels=files[LABELS],
            native=hu.grid.to_dict(),
            affine=np.eye(4).tolist(),
        )
    record_entry(entry, task.output, RECORDS, _source(task))
    return entry


def _mean_dice(
    target_labels: NDArray[np.integer], shown: NDArray[np.integer], before: NDArray[np.integer], organs: Sequence[int]
) -> float:
    return float(np.mean(list(dice(target_labels, shown, organs, moving_labels=before).values())))


def _current(task: SynthesisTask) -> Entry | None:
    """The row of a subject made from the same files in the same way, else None."""
    return recorded_entry(task.name, task.output, RECORDS, _source(task))


def _source(task: SynthesisTask) -> dict[str, Any]:
    """What the result depends on."""
    files = (task.root / task.source_case.image, task.root / task.source_case.labels, task.path)
    return {
        "files": [digest(file) for file in files],
        "organs": list(task.source_case.organs),
        "pseudo_organs": list(task.source_case.pseudo_organs),
        "settings": repr(SETTINGS),
        "share": task.share,
    }


def _failed(name: str, labels: Path | None, error: Exception) -> Entry:
    return Entry(
        name=name,
        cohort=COHORT,
        split="train",
        status="failed",
        reason=reason(error),
        source_labels=str(labels),
    )
