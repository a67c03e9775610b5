"""What training cases are made of: the subjects of a data set, and the note by which a change of it is noticed."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.data.manifest import MANIFEST, Entry, read_manifest
from mics.data.state import state_of
from mics.errors import InputError, MissingFileError, RunError, counted
from mics.files.whole import write_text

PHANTOMS = "phantom:"
PHANTOM_VALIDATION = 3
"""So many of the generated subjects are for validation."""
_MAX_PHANTOMS = 100_000

SOURCE = "source.txt"
"""In the folder of cases, JSON; whatever ends in .json there is a case."""


class SourceSubject(NamedTuple):
    """A subject that cases are made of."""

    name: str
    split: str
    organs: tuple[int, ...]
    """Those that are labelled."""


class CaseSource(BaseModel):
    """``data``, the state of its ``files``, its ``subjects``, how they are prepared (:func:`mics.training.cases.prepare`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data: str
    subjects: list[SourceSubject] = Field(alias="people")
    """``people`` in the file."""
    files: dict[str, list[int]]
    spacing_mm: float
    organ_maps: str | None = None
    """SHA-256 of the segmentation model."""
    phase_variants: int = 0

    def require_subjects(self, least: int) -> None:
        """Raise InputError if a split has fewer subjects."""
        counts = Counter(subject.split for subject in self.subjects)
        for split in ("train", "val"):
            if counts[split] < least:
                raise InputError(
                    f"{self.data} has {counted(counts[split], 'subject')} in the split {split!r}, and this training needs "
                    f"{least}: add some, or hold some out."
                )

    def require_annotated_validation(self) -> None:
        """Raise InputError where nothing is annotated in any subject for the validation."""
        annotated = self.data.startswith(PHANTOMS) or any(one.organs for one in self.subjects if one.split == "val")
        if not annotated:
            raise InputError(
                f"No subject of {self.data} in the split 'val' has an annotated organ, and a segmentation is validated by them: "
                "hold out some that have."
            )

    def goes_on(self, earlier: "CaseSource") -> bool:
        """Whether cases made ``earlier`` can stay: nothing has changed but that organ maps or more phases are wanted now."""
        return self == earlier.model_copy(
            update={
                "organ_maps": self.organ_maps if earlier.organ_maps is None else earlier.organ_maps,
                "phase_variants": max(self.phase_variants, earlier.phase_variants),
            }
        )


def source_of(data: str, spacing_mm: float, organ_maps: str | None, phase_variants: int) -> CaseSource:
    """What cases of ``data`` are made of now. Raises InputError where it is no data set."""
    made = {"spacing_mm": spacing_mm, "organ_maps": organ_maps, "phase_variants": phase_variants}
    if data.startswith(PHANTOMS):
        count = phantom_count(data)
        subjects = [
            SourceSubject(f"phantom{seed:04d}", "val" if seed < PHANTOM_VALIDATION else "train", ())
            for seed in range(count)
        ]
        return CaseSource(data=data, subjects=subjects, files={}, **made)
    root = Path(data).resolve()
    if not root.is_dir():
        raise InputError(
            f"`data {data}`: there is no such folder; give one of mics prepare or in the Learn2Reg layout, or phantom:N.",
            option="data",
        )
    if (root / MANIFEST).is_file():
        entries = usable(root)
        subjects = [SourceSubject(entry.name, entry.split, (*entry.organs, *entry.pseudo_organs)) for entry in entries]
        paths = [root / name for entry in entries for name in (entry.image, entry.labels) if name]
        if lacking := next((path for path in paths if not path.is_file()), None):
            raise MissingFileError(
                f"{root / MANIFEST} lists {lacking}, which is not there: its files are relative to it, so move the folders of "
                "`data` together, or prepare the cases again."
            )
    else:
        cohort = open_learn2reg(root)
        validation = {case.number for case in cohort.validation}
        cases = sorted(cohort.cases.items())
        subjects = [
            SourceSubject(number, "val" if number in validation else "train", case.organs) for number, case in cases
        ]
        paths = [path for _, case in cases for path in (case.image_path, case.labels_path) if path is not None]
    return CaseSource(data=str(root), subjects=subjects, files={str(path): state_of(path) for path in paths}, **made)


def usable(root: Path) -> list[Entry]:
    """The subjects of a manifest to train on: none of a test split, none that were left out. InputError if none is left."""
    entries = [entry for entry in read_manifest(root) if entry.status == "prepared" and entry.split != "test"]
    if not entries:
        raise InputError(f"{root / MANIFEST} lists no case to train on: see its column reason.")
    return entries


def phantom_count(data: str) -> int:
    """N of ``phantom:N``; raises InputError for anything but a number of subjects that leaves some for training."""
    count = data.removeprefix(PHANTOMS)
    if not (count.isdecimal() and len(count) < 9 and PHANTOM_VALIDATION < int(count) <= _MAX_PHANTOMS):
        raise InputError(
            f"`data {data[:50]}`: give phantom:N with N subjects, more than {PHANTOM_VALIDATION} and at most {_MAX_PHANTOMS}.",
            option="data",
        )
    return int(count)


def note(source: CaseSource, folder: Path) -> None:
    """Write what the cases in ``folder`` are made of."""
    write_text(source.model_dump_json(indent=1, by_alias=True) + "\n", folder / SOURCE)


def refuse_other(source: CaseSource, folder: Path) -> None:
    """Raise InputError if ``folder`` holds cases that were made of something else."""
    path = folder / SOURCE
    if not path.exists():
        return
    try:
        earlier = CaseSource.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} is damaged: delete the folder {folder}, and its cases are prepared anew.") from error
    if not source.goes_on(earlier):
        raise RunError(
            f"{folder} holds cases of {earlier.data} that were prepared with other settings, or before those data changed: "
            "delete that folder, or give another output folder."
        )
