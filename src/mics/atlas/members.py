"""The scans of a folder, with their labels where there are any, in the layouts that the field uses."""

import csv
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mics.data.cohorts.case import visible
from mics.data.cohorts.learn2reg import is_learn2reg, open_learn2reg
from mics.data.cohorts.nnunet import DATASET, ENDINGS
from mics.data.label_names import disagreement, known_names, read_label_names
from mics.data.names import is_file_name, names_of_labels
from mics.data.pairs import ScanSource, read_label_map
from mics.errors import GeometryError, InputError, MissingFileError, require_type
from mics.files.csv_rows import CsvRows
from mics.files.paths import as_path
from mics.files.text import read_text
from mics.image.grid import GRID_TOLERANCE_VOXELS
from mics.image.hounsfield import read_scan
from mics.image.io import Image
from mics.image.lattice import difference, with_axes_of
from mics.organs import ORGAN_NAMES

LAYOUTS = (
    "Learn2Reg's (AbdomenCTCT_dataset.json), nnU-Net's (imagesTr/NAME_0000.nii.gz and labelsTr/NAME.nii.gz), pairs of files "
    "(NAME.nii.gz with NAME_labels.nii.gz, or imgNAME.nii.gz with labelNAME.nii.gz), or a CSV file with the columns "
    "image and labels"
)
_CHANNEL = "_0000"
_COLUMNS = ("name", "image", "labels")


def read_members(source: str | Path, *, labelled: bool) -> list[ScanSource]:
    """The scans of a folder or of a CSV file, by name; nothing but names and headers of tables is read yet.

    Args:
        source: A Learn2Reg folder (its annotated subjects), an nnU-Net folder (``imagesTr``, ``labelsTr``; names of labels in
            ``dataset.json``), a folder of scans with label maps beside them, or a CSV file with the columns ``image``, ``labels``
            and, optionally, ``name``, whose files are relative to it.
        labelled: Only scans with labels count, and a warning tells which are left out; without, a scan may have none.

    Raises:
        InputError: Where there is nothing of the kind, two scans have one name, or a name cannot be a file's.
    """
    source = as_path(source)
    members = sorted(_found(source), key=lambda member: member.name)
    without = [member.name for member in members if "labels" not in member.files] if labelled else []
    members = [member for member in members if not labelled or "labels" in member.files]
    if not members:
        what = "scans with labels" if labelled else "scans"
        raise MissingFileError(f"{source} holds no {what} in a layout that is known: give {LAYOUTS}.")
    if without:
        warnings.warn(
            f"{source}: {', '.join(without[:5])}{', ...' if len(without) > 5 else ''} without a label map left out.",
            stacklevel=2,
        )
    return checked(members, str(source))


def given_members(source: str | Path | Sequence[ScanSource], what: str, *, labelled: bool) -> list[ScanSource]:
    """The members that a user gives: themselves, or where they lie (:func:`read_members`); InputError as there."""
    if isinstance(source, str | Path):
        return read_members(source, labelled=labelled)
    require_type(source, (list, tuple), f"{what} are a folder, a CSV file or a list of members")
    for member in source:
        require_type(member, ScanSource, f"{what} are a folder, a CSV file or a list of members")
    return checked(source, what)


def checked(members: Sequence[ScanSource], where: str) -> list[ScanSource]:
    """The same members; raises InputError where two have one name, or a name cannot be a folder's."""
    names = [member.name for member in members]
    for name in names:
        if not is_file_name(name):
            raise InputError(f"{where}: a scan is called {name[:200]!r}, which no folder can be; rename it.")
        if names.count(name) > 1:
            raise InputError(f"{where}: two scans are called {name}; rename one of them.")
    return list(members)


def meaning(members: Sequence[ScanSource]) -> dict[int, str]:
    """What the labels mean by their files or data set, names by id; raises InputError where these disagree."""
    names: dict[int, str] = {}
    for member in members:
        own = member.label_names()
        if messages := disagreement(names, own):
            raise InputError(f"{member.name}: {messages[0]} Correct the labels, or their names.")
        names |= own
    return names


def read_member(member: ScanSource) -> tuple[Image, Image | None]:
    """The scan in HU and its label map, None where it has none; raises InputError for files that cannot be used."""
    image = member.image()
    if "labels" not in member.files:
        return image, None
    labels = with_axes_of(member.labels(), image.grid)
    if not labels.grid.is_close(image.grid, GRID_TOLERANCE_VOXELS * min(image.grid.spacing)):
        raise GeometryError(
            f"The label map of {member.name} is on another grid than its scan ({difference(labels.grid, image.grid)}): resample "
            "it onto the scan with nearest neighbour."
        )
    return image, labels


def _found(source: Path) -> Iterator[ScanSource]:
    if source.is_file() and source.suffix.lower() == ".csv":
        return _listed(source)
    if not source.is_dir():
        raise MissingFileError(f"{source} is not there, or is neither a folder nor a CSV file: give {LAYOUTS}.")
    if is_learn2reg(source):
        return _learn2reg(source)
    if (source / "imagesTr").is_dir():
        return _nnunet(source)
    return _beside(source)


def _learn2reg(folder: Path) -> Iterator[ScanSource]:
    for case in open_learn2reg(folder).cases.values():
        files = _named(case.image_path, case.labels_path)
        yield ScanSource(
            case.name, case.image, case.labels, mirrored_header=True, files=files, label_names=lambda: dict(ORGAN_NAMES)
        )


def _nnunet(folder: Path) -> Iterator[ScanSource]:
    """Also the Medical Segmentation Decathlon's, whose images have no number of a channel."""
    ending, names = _described(folder / DATASET)
    images = visible(folder / "imagesTr", f"*{ending}")
    channels = [image for image in images if image.name.endswith(f"{_CHANNEL}{ending}")]
    for image in channels or images:
        name = image.name.removesuffix(ending).removesuffix(_CHANNEL)
        candidates = [folder / "labelsTr" / f"{stem}{ending}" for stem in (name, f"{name}{_CHANNEL}")]
        yield _of_files(name, image, next((path for path in candidates if path.is_file()), None), names)


def _described(dataset: Path) -> tuple[str, dict[int, str] | None]:
    """The ending of files, and what the labels mean, as nnU-Net's ``dataset.json`` says."""
    if not dataset.is_file():
        return ".nii.gz", None
    try:
        content = json.loads(dataset.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{dataset} is not valid JSON ({error}): correct it, or take it away.") from error
    ending = content.get("file_ending", ".nii.gz") if isinstance(content, dict) else None
    if ending not in ENDINGS:
        raise InputError(f"{dataset}: file_ending is one of {', '.join(ENDINGS)}, not {ending!r}.")
    return ending, read_label_names(dataset)


def _beside(folder: Path) -> Iterator[ScanSource]:
    files = {path: ending for path in visible(folder, "*") if (ending := _ending(path)) and path.is_file()}
    stems: dict[str, Path] = {}
    for path, ending in files.items():
        stem = path.name[: -len(ending)]
        if stem in stems:
            raise InputError(f"{stems[stem]} and {path.name} have one name without their endings: rename one of them.")
        stems[stem] = path
    maps = {label: stem for stem in stems for label in names_of_labels(stem) if label in stems}
    for stem, image in stems.items():
        if stem not in maps and not stem.startswith("label"):
            labels = next((stems[label] for label in names_of_labels(stem) if label in stems), None)
            yield _of_files(stem.removeprefix("img"), image, labels, None)


def _listed(table: Path) -> Iterator[ScanSource]:
    try:
        rows = CsvRows(io.StringIO(read_text(table), newline=""))
        _refuse_columns(table, rows.fieldnames or [])
        lines = [(rows.line_num, row) for row in rows]
    except OSError as error:
        raise MissingFileError(f"{table} cannot be read ({error.strerror}); give {LAYOUTS}.") from error
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{table} is not a CSV file ({error}); give {LAYOUTS}.") from error
    for line, row in lines:
        if not row["image"]:
            raise InputError(f"{table}, line {line} names no image: add it, or take the line away.")
        image = table.parent / row["image"]
        labels = table.parent / row["labels"] if row.get("labels") else None
        name = row.get("name") or image.name[: len(image.name) - len(_ending(image) or "")]
        yield _of_files(name, image, labels, None)


def _refuse_columns(table: Path, columns: Sequence[str]) -> None:
    if "image" not in columns or (unknown := set(columns) - set(_COLUMNS)):
        problem = "has no column image" if "image" not in columns else f"has an unknown column {min(unknown)!r}"
        raise InputError(f"{table} {problem}; its first line names the columns: image, labels and, if wanted, name.")


def _named(image: Path | None, labels: Path | None) -> dict[str, Path]:
    return {kind: path for kind, path in (("image", image), ("labels", labels)) if path is not None}


def _of_files(name: str, image: Path, labels: Path | None, names: dict[int, str] | None) -> ScanSource:
    def no_labels() -> Image:
        raise InputError(f"{name} comes without labels; leave it out here.")

    return ScanSource(
        name,
        partial(read_scan, image),
        no_labels if labels is None else partial(read_label_map, labels),
        files=_named(image, labels),
        label_names=dict if labels is None else partial(_meaning, labels, names),
    )


def _meaning(labels: Path, names: dict[int, str] | None) -> dict[int, str]:
    return known_names(labels) if names is None else names


def _ending(path: Path) -> str | None:
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
