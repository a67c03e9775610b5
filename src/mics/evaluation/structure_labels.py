"""The structures of a DICOM file as a label map whose numbers are those that other label maps have for the same names."""

import dataclasses
import itertools
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from mics.data.label_names import plain_name
from mics.data.pairs import ScanSource
from mics.dicom_rt.extra import is_structures, structures_in
from mics.errors import GeometryError, SettingError
from mics.image.grid import Grid
from mics.image.io import Image, grid_of, read_itk
from mics.image.zipped import is_zip

NamesByLabel = Mapping[int, str]
T = TypeVar("T")


def structure_labels(
    path: Path, names: NamesByLabel, *, grid: Grid | None = None, scan: Path | None = None, series: str | None = None
) -> tuple[Image, dict[int, str]]:
    """Structures as a label map: each has the number by which ``names`` calls it, others the next ones that are free.

    Args:
        path: an RT structure set or a DICOM segmentation.
        names: of labels by number, as known so far.
        grid: of the map; by default that of the series that the structures were drawn on.
        scan: what the labels are of: where it is a folder or zip of DICOM, the structures must have been drawn on it.
        series: UID of its series, where it holds several.

    Returns the map, and the names of its own labels. Warns of structures of one name, which become one label.

    Raises InputError as :func:`mics.dicom_rt.extra.structures_in` does, and if nothing of them lies on ``grid``.
    """
    of_dicom = scan is not None and (scan.is_dir() or is_zip(scan))
    structures = structures_in(path, scan if of_dicom else None, series if of_dicom else None)
    labels, own = (structures if grid is None else structures.on(grid)).label_map()
    if not labels.array.any():
        raise GeometryError(f"Nothing of the structures in {path} lies within the scan: give those of this scan.")
    twice = [name for name, times in Counter(map(plain_name, own.values())).items() if times > 1]
    if twice:
        warnings.warn(
            f"{path} holds several structures called {', '.join(twice)}, which count as one: call them by names of their own.",
            stacklevel=2,
        )
    known = {plain_name(name): number for number, name in names.items()}
    free = (number for number in itertools.count(1) if number not in names)
    for name in own.values():
        if plain_name(name) not in known:
            known[plain_name(name)] = next(free)
    numbers = np.array([0, *(known[plain_name(own[index])] for index in sorted(own))], dtype=np.int32)
    return Image(numbers[labels.array], labels.grid), {int(numbers[index]): name for index, name in own.items()}


def with_structures(subjects: Mapping[str, ScanSource], given: NamesByLabel | None) -> dict[str, ScanSource]:
    """The members of a list, those whose labels are DICOM structures with label maps of one numbering.

    ``given``: names by number as the user says; by default the label maps' own count.
    """
    drawn = {
        name: path for name, member in subjects.items() if is_structures(path := member.files.get("labels", Path()))
    }
    names: dict[int, str] = dict(given or {})
    if given is None:
        for name, member in subjects.items():
            names = names if name in drawn else member.label_names() | names
    nameless = [name for name, member in subjects.items() if name not in drawn and "labels" in member.files]
    if drawn and nameless and not names:
        raise SettingError(
            f"{next(iter(drawn))} has structures of DICOM, which have names, and {nameless[0]} a label map that has none: say "
            "what its numbers mean by a file of label names.",
            option="label_names",
        )
    found = dict(subjects)
    for name, path in drawn.items():
        scan = subjects[name].files.get("image")
        on_file = scan is not None and not scan.is_dir() and not is_zip(scan)
        grid = grid_of(read_itk(scan, pixel=None)) if scan is not None and on_file else None
        labels, own = structure_labels(path, names, grid=grid, scan=scan)
        names = own | names
        found[name] = dataclasses.replace(
            subjects[name], labels=partial(_identity, labels), label_names=partial(_identity, own)
        )
    return found


def _identity(value: T) -> T:
    return value
