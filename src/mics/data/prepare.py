"""From the cohorts as they are published to one training set: one frame, one spacing, one shape, one list of organs."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mics.data.checks import check, check_labels
from mics.data.cohorts.case import Case, Cohort
from mics.data.frame import FRAME, PAPER_SIZE, PAPER_SPACING_MM, Frame, full_name, make_frame, read_reference
from mics.data.manifest import Entry, make_folder, reason, record_entry, recorded_entry, write_manifest
from mics.data.preview import write_preview
from mics.data.state import state_of
from mics.data.workers import each, require_scheduler
from mics.errors import GeometryError, InputError
from mics.files.folder import own_folder
from mics.image.hu import AIR_HU
from mics.image.io import Image, write_image
from mics.image.resample import resample


class AffineRegistration(Protocol):
    """What finds the affine (4, 4), from LPS points of ``fixed`` to those of ``moving``."""

    def __call__(self, *, fixed: Image, moving: Image) -> NDArray[np.float64]:
        """Register the two scans."""


RECORDS, IMAGES, LABELS, PREVIEWS = "cases", "images", "labels", "previews"
_LOWEST_HU, _HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class PrepareTask:
    """All that a worker needs to prepare one case."""

    name: str
    cohort: str
    case: Case
    frame: Frame
    output: Path
    affine: AffineRegistration


def prepare(
    cohorts: dict[str, Cohort],
    output: Path,
    *,
    affine: AffineRegistration,
    reference: str | None = None,
    spacing_mm: float = PAPER_SPACING_MM,
    size: tuple[int, int, int] = PAPER_SIZE,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[Entry], None] = lambda _: None,
) -> list[Entry]:
    """Bring all cases into one frame, in the folder ``output``; returns the rows of its manifest.

    Each case is turned upright, registered to the case ``reference`` by ``affine`` and resampled, linear for the scan and
    nearest neighbour for the labels, to ``size`` voxels (X, Y, Z) of ``spacing_mm`` in LAS order: ``images/NAME.nii.gz``
    (int16 HU), ``labels/NAME.nii.gz`` (uint8 organ ids), ``previews/NAME.png``. Cases that are there already, from the same
    files, stay. The same input gives the same bytes, for any number of ``workers`` (see :func:`mics.data.workers.each`).
    A case that cannot be prepared has a row that says why. ``progress`` is called with each row as it is done.

    Raises :class:`InputError` if ``output`` holds another preparation or something else, another run writes into it, two cases
    have one name, no scheduler answers, or the reference cannot be read.
    """
    output = output.resolve()
    _refuse_twice(cohorts)
    require_scheduler(workers, scheduler)
    with own_folder(output, FRAME, "prepared cases"):
        frame = make_frame(cohorts, output, reference, spacing_mm, size)
        for folder in (RECORDS, IMAGES, LABELS, PREVIEWS):
            make_folder(output / folder)
        entries = [
            Entry(name=f"{name}_{case}", cohort=name, split="train", status="excluded", reason=f"Left out: {reason}.")
            for name, cohort in cohorts.items()
            for case, reason in cohort.excluded.items()
        ]
        tasks = []
        for task in _tasks(cohorts, frame, output, affine):
            entry = _current(task)
            if entry is None:
                tasks.append(task)
            else:
                entries.append(entry)
        for entry in each(prepare_case, tasks, workers=workers, scheduler=scheduler, failed=_failed):
            progress(entry)
            entries.append(entry)
        write_manifest(entries, output)
    return sorted(entries, key=lambda entry: entry.name)


def prepare_case(task: PrepareTask) -> Entry:
    """Prepare one case and write its files, its record last. Raises :class:`InputError` if the case cannot be read."""
    case, grid = task.case, task.frame.grid
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = case.image()
        labels = None if case.labels_path is None else case.labels(image)
    matrix = _to_case(task, image)
    figures, deviations = check(task.frame, image.grid, matrix)
    hu = resample(image, grid, matrix, outside=AIR_HU).array
    volume = Image(np.clip(np.rint(hu), _LOWEST_HU, _HIGHEST_HU).astype(np.int16), grid)
    prepared = None if labels is None else resample(labels, grid, matrix, nearest=True, outside=0)
    if labels is not None and prepared is not None:
        more, odd = check_labels(task.frame, prepared, labels, matrix, case.organs)
        figures, deviations = {**figures, **more}, [*deviations, *odd]
        write_image(prepared, task.output / LABELS / f"{task.name}.nii.gz")
    write_image(volume, task.output / IMAGES / f"{task.name}.nii.gz")
    write_preview(volume, None if prepared is None else prepared.array, task.output / PREVIEWS / f"{task.name}.png")
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    entry = Entry(
        name=task.name,
        cohort=task.cohort,
        split=case.split,
        status="prepared",
        organs=case.organs,
        image=f"{IMAGES}/{task.name}.nii.gz",
        labels="" if labels is None else f"{LABELS}/{task.name}.nii.gz",
        source_image=str(case.image_path),
        source_labels="" if labels is None else str(case.labels_path),
        native=image.grid.to_dict(),
        affine=matrix.tolist(),
        checks=figures,
        warnings=(*case.known_issues, *messages, *deviations),
    )
    record_entry(entry, task.output, RECORDS, _source(case))
    return entry


def _refuse_twice(cohorts: dict[str, Cohort]) -> None:
    """Files of a case are called after it: raises InputError for a name that two cases have, or that no file can have."""
    counts = Counter(full_name(name, case) for name, cohort in cohorts.items() for case in cohort.cases)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(f"There are two cases {twice[0]}: rename one of them, or leave it out.")


def _tasks(cohorts: dict[str, Cohort], frame: Frame, output: Path, affine: AffineRegistration) -> Iterator[PrepareTask]:
    for name, cohort in cohorts.items():
        for case in cohort.cases:
            yield PrepareTask(full_name(name, case), name, case, frame, output, affine)


def _to_case(task: PrepareTask, image: Image) -> NDArray[np.float64]:
    """From LPS points of the frame to LPS points of the case. Raises InputError for a case that is not on its cohort's grid."""
    frame = task.frame
    if task.name == frame.reference:
        return np.eye(4)
    if task.cohort != frame.registered:
        return task.affine(fixed=read_reference(task.output), moving=image)
    if image.grid.size != frame.scan.size:
        raise GeometryError(
            f"{task.case.image_path} has {image.grid.size} voxels and not the {frame.scan.size} of {frame.reference}, though "
            "its publisher has brought all to one grid: get it again."
        )
    # Voxels correspond, whatever the headers say of the origin.
    return np.asarray(image.grid.matrix @ frame.scan.inverse_matrix)


def _current(task: PrepareTask) -> Entry | None:
    """The row of a case that has been prepared from the same files, else None."""
    entry = recorded_entry(task.name, task.output, RECORDS, _source(task.case))
    return entry if entry is not None and entry.organs == task.case.organs else None


def _source(case: Case) -> dict[str, Any]:
    """What the prepared case depends on."""
    found: dict[str, Any] = {
        "mapping": {str(value): organ for value, organ in case.mapping.items()},
        "split": case.split,
    }
    for path in (case.image_path, case.labels_path):
        if path is not None and path.exists():
            found[str(path)] = state_of(path)
    return found


def _failed(task: PrepareTask, error: Exception) -> Entry:
    return Entry(
        name=task.name,
        cohort=task.cohort,
        split=task.case.split,
        status="failed",
        reason=reason(error),
        source_image=str(task.case.image_path),
    )
