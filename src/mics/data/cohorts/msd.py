"""Medical Segmentation Decathlon: ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json`` (Simpson et al. 2019).

Tasks 3 (liver), 7 (pancreas) and 9 (spleen). Label 1 is the organ, 2 its tumours, which join it. The test subjects have no
annotation; here they are training cases without one, because the test is one of segmentation.
"""

import json
from pathlib import Path
from typing import Any

from mics.data.cohorts.case import Adapter, Case, Cohort, not_laid_out
from mics.errors import InputError, MissingFileError
from mics.organs import LIVER, PANCREAS, SPLEEN

LAYOUT = "imagesTr, labelsTr, imagesTs and dataset.json"

_IRCADB = {f"liver_{number}" for number in range(28, 48)}
_IRCADB_NOTE = "From 3D-IRCADb-01: where its header says 1 mm along every axis, that is not the true spacing."


def open_task(folder: Path, *, task: str, title: str, organ: int) -> Cohort:
    """The cases that ``dataset.json`` lists. Raises :class:`InputError` for another task and for missing files."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise not_laid_out(folder, title, LAYOUT)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        names = {int(value): str(name) for value, name in description["labels"].items()}
        training = [(folder / item["image"], folder / item["label"]) for item in description["training"]]
        test = [folder / item for item in description.get("test", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not laid out as the decathlon's ({error!r} is amiss): get it again.") from error
    if names.get(1, "").lower() != task:
        raise InputError(f"{path} is not that of {title}: its label 1 is {names.get(1)!r}, expected {task!r}.")
    mapping = {value: organ for value in names if value > 0}
    cases = [_case(image, labels_path=labels, mapping=mapping, organs=(organ,)) for image, labels in training]
    cases += [_case(image, labels_path=None, mapping={}, organs=()) for image in test]
    missing = [p for case in cases for p in (case.image_path, case.labels_path) if p is not None and not p.is_file()]
    if missing:
        raise MissingFileError(f"{path} names {missing[0]}, which is not there; unpack the archive again.")
    return Cohort(cases)


def _case(image: Path, **known: Any) -> Case:
    name = image.name.removesuffix(".nii.gz")
    return Case(name, image, **known, known_issues=(_IRCADB_NOTE,) if name in _IRCADB else ())


def _adapter(task: str, folder: str, organ: int, subjects: str, annotated: str, known_issues: str) -> Adapter:
    title = f"the decathlon's {folder}"
    return Adapter(
        name=f"msd-{task}",
        title=f"Medical Segmentation Decathlon, {folder}",
        subjects=subjects,
        annotated=annotated,
        layout=LAYOUT,
        known_issues=known_issues,
        open=lambda path: open_task(path, task=task, title=title, organ=organ),
    )


MSD_LIVER = _adapter(
    "liver",
    "Task03_Liver",
    LIVER,
    "201 (131 annotated)",
    "liver (tumours joined)",
    f"{len(_IRCADB)} subjects of 3D-IRCADb may have lost their spacing",
)
MSD_PANCREAS = _adapter("pancreas", "Task07_Pancreas", PANCREAS, "420 (281 annotated)", "pancreas (tumours joined)", "")
MSD_SPLEEN = _adapter("spleen", "Task09_Spleen", SPLEEN, "61 (41 annotated)", "spleen", "")
