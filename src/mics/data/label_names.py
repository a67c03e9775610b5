"""What the numbers of a label map mean: names from a file, from the map itself, or from the data set that it lies in."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel

from mics.data.cohorts.learn2reg import DATASET_FILE
from mics.data.manifest import MANIFEST, Entry
from mics.errors import InputError, MissingFileError, require_type, shown
from mics.files.csv_rows import CsvRows
from mics.files.text import read_text
from mics.image.segments import read_segments
from mics.organs import ORGAN_NAMES

LabelNames = str | Path | Mapping[int, str]

_FORMS = (
    "give nnU-Net's dataset.json, a JSON file of id: name, a CSV file with the columns id and name, ITK-SNAP's label "
    "descriptions (.txt, .label), or a label map that holds names (.seg.nrrd, TotalSegmentator's .nii.gz)"
)
_MAX_DIGITS = 20  # of a 64-bit number
# ITK-SNAP: id, three colours, opacity, two flags, name.
_SNAP_LINE = re.compile(r'(\d+)(?:\s+[\d.]+){6}\s+"(.*)"')


def read_label_names(source: LabelNames) -> dict[int, str]:
    """Names by id, of a mapping or a file: JSON, CSV, ITK-SNAP's label descriptions, or a label map that holds names.

    JSON is ``{"1": "liver"}`` or ``{"liver": 1}``, alone or as ``labels`` of an object, as in nnU-Net's dataset.json, whose
    regions of several ids are left out. Background, 0, has no name. Raises InputError for a file that cannot be read,
    has another form or names nothing, for an id that is no whole number above 0, and for one with two names or said twice.
    """
    if isinstance(source, Mapping):
        return _checked(source.items(), "The mapping of label names")
    require_type(source, (str, os.PathLike), "Label names are a file or a mapping from ids to names")
    path = Path(source)
    try:
        pairs = _read(path)
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror or error}); {_FORMS}.") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a list of label names ({error}); {_FORMS}.") from error
    return _checked(pairs, str(path))


def known_names(label_map: str | Path) -> dict[int, str]:
    """Names by id that a label map's file holds, else our organs' if it lies in a data set with our ids, else none.

    A Slicer segmentation names its segments and TotalSegmentator its classes in the header. Our ids are those of Learn2Reg's
    AbdomenCTCT, recognised by its json, and of a folder that ``mics prepare`` has made, recognised by its manifest.
    """
    path = Path(label_map)
    try:
        names = {label: tidy for label, name in _names_within(path) if label > 0 and (tidy := _one_line(name))}
    except (OSError, ValueError):  # numbers do where names cannot be read
        names = {}
    return names or _names_of_cohort(path)


def label_name(label: int, names: Mapping[int, str]) -> str:
    """The name of a label, or its number where nothing is known."""
    return names.get(label, f"label {label}")


def disagreement(first: Mapping[int, str], second: Mapping[int, str]) -> list[str]:
    """A sentence if two label maps have other names for the same ids."""
    other = [
        label for label in sorted(first.keys() & second.keys()) if plain_name(first[label]) != plain_name(second[label])
    ]
    if not other:
        return []
    shown = "; ".join(f"{label} is {first[label]} in one, {second[label]} in another" for label in other[:5])
    return [f"Label maps have other names for the same numbers ({shown}): do they use the same numbering?"]


def _read(path: Path) -> list[tuple[Any, Any]]:
    name = path.name.lower()
    if name.endswith((".nrrd", ".nii", ".nii.gz")):
        return _names_within(path)
    readers = {".json": _json_pairs, ".csv": _csv_pairs, ".txt": _snap_pairs, ".label": _snap_pairs}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError("its ending is none of those known")
    return reader(read_text(path))


def _json_pairs(text: str) -> list[tuple[Any, Any]]:
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        content = content["labels"]
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return [
        (key, value) if isinstance(value, str) else (value, key)
        for key, value in content.items()
        if not isinstance(value, list)  # a region of several ids
    ]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError where it says something twice, of which json would take the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it says {shown(next(key for key in keys if keys.count(key) > 1))} twice")
    return content


def _csv_pairs(text: str) -> list[tuple[Any, Any]]:
    rows = CsvRows(text.splitlines())
    if not {"id", "name"} <= set(rows.fieldnames or ()):
        raise ValueError("its first line does not name the columns id and name")
    return [(row["id"], row["name"]) for row in rows]


def _snap_pairs(text: str) -> list[tuple[Any, Any]]:
    lines = [line.strip() for line in text.splitlines()]
    found = [(_SNAP_LINE.fullmatch(line), line) for line in lines if line and not line.startswith("#")]
    if other := [line for match, line in found if match is None]:
        raise ValueError(f"{other[0]!r} is no line of ITK-SNAP's")
    return [(match[1], match[2]) for match, _ in found if match is not None]


def _checked(pairs: Iterable[tuple[Any, Any]], where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for label, given in pairs:
        number = _whole_number(label)
        name = _one_line(given) if isinstance(given, str) else ""
        if number is None or not name:
            raise InputError(
                f"{where}: {shown(label)} with the name {shown(given)} is no label, a whole number with a name."
            )
        if names.setdefault(number, name) != name:
            raise InputError(f"{where}: label {number} is both {names[number]} and {name}; keep one name.")
    names.pop(0, None)
    if not names:
        raise InputError(f"{where} names no label; {_FORMS}.")
    return names


def _whole_number(label: object) -> int | None:
    """The id that a key stands for; None for what is none, or longer than any label map's."""
    text = "" if isinstance(label, bool | float) else str(label).strip()
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _names_within(path: Path) -> list[tuple[int, str]]:
    """Ids and names in the header of a Slicer segmentation or of a TotalSegmentator label map; none in other files."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        return _segments(path)
    return _label_table(path) if name.endswith((".nii", ".nii.gz")) else []


def _segments(path: Path) -> list[tuple[int, str]]:
    values = read_segments(path)
    names = {
        key: values.get(f"{key.removesuffix('_LabelValue')}_Name") for key in values if key.endswith("_LabelValue")
    }
    return [(int(values[key]), name) for key, name in names.items() if name and values[key].isdecimal()]


def _label_table(path: Path) -> list[tuple[int, str]]:
    try:
        extensions = getattr(nibabel.load(path).header, "extensions", ())
        contents = [_raw(extension) for extension in extensions]
        tables = [
            ElementTree.fromstring(content.rstrip(b" \0\n")) for content in contents if b"<LabelTable>" in content
        ]
    except (nibabel.filebasedimages.ImageFileError, ElementTree.ParseError) as error:
        raise ValueError("it is damaged") from error
    labels = [label for table in tables for label in table.iter("Label")]
    return [(int(label.get("Key", 0)), label.text) for label in labels if label.text]


def _raw(extension: nibabel.nifti1.Nifti1Extension) -> bytes:
    """What it holds, without its meaning: nibabel gives up on those of a program that it does not know."""
    file = io.BytesIO()
    extension.write_to(file, byteswap=False)
    return file.getvalue()[8:]


def files_that_name(label_map: str | Path) -> tuple[Path, Path]:
    """The files of the data set that a label map lies in, by which :func:`known_names` tells that its labels are ours."""
    folder = Path(label_map).absolute().parent.parent
    return folder / DATASET_FILE, folder / MANIFEST


def _names_of_cohort(label_map: Path) -> dict[int, str]:
    dataset, manifest = files_that_name(label_map)
    if dataset.is_file() or _is_ours(manifest):
        return dict(ORGAN_NAMES)
    return {}


def _is_ours(manifest: Path) -> bool:
    if not manifest.is_file():
        return False
    with manifest.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip() == ",".join(Entry.model_fields)


def plain_name(name: str) -> str:
    """A label's name as it is compared with another: without capitals, and with blanks for underscores."""
    return name.replace("_", " ").casefold()
