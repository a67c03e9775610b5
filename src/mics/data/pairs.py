"""Pairs of scans to register or to evaluate: a CSV list, or the validation pairs of a Learn2Reg folder."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn

from mics.data.cohorts.learn2reg import DATASET_FILE, Learn2Reg, Learn2RegCase, is_learn2reg, open_learn2reg
from mics.data.cohorts.splits import release_of
from mics.data.label_names import known_names
from mics.data.names import MAX_NAME, is_file_name, name_of_scan
from mics.errors import InputError, MissingFileError
from mics.files.csv_rows import CsvRows
from mics.files.paths import as_path
from mics.files.text import read_text
from mics.image.checks import known_suffix, refuse_values_of_scans
from mics.image.hounsfield import read_scan
from mics.image.io import READERS, Image, read_labels
from mics.image.points import Points, read_points
from mics.organs import ORGAN_NAMES

ROLES = ("fixed", "moving")
_FILES = ("image", "labels", "landmarks", "exclude", "lesions")
_BY_NAME = {"image": "scans", "labels": "label maps"}
"""Of these a scan has one; landmarks and masks may be others in each pair."""
COLUMNS = (*ROLES, *(f"{role}_{file}" for role in ROLES for file in _FILES))


@dataclass(frozen=True)
class ScanSource:
    """One scan of a pair: its name, and what can be read of it; each raises InputError where there is none."""

    name: str
    image: Callable[[], Image]
    labels: Callable[[], Image]
    landmarks: Callable[[], Points] | None = None
    mirrored_header: bool = False
    """The files' headers are the mirror image of what is read here, as Learn2Reg's are."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What there is of it, by ``image``, ``labels``, ``landmarks``, ``exclude`` and ``lesions``."""
    label_names: Callable[[], dict[int, str]] = dict
    """What its labels mean, as far as their file or data set says."""


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """Two scans with a direction: ``moving`` is brought onto ``fixed``."""

    fixed: ScanSource
    moving: ScanSource

    @property
    def name(self) -> str:
        """``FIXED_MOVING``."""
        return f"{self.fixed.name}_{self.moving.name}"


PairSelection = Literal["validation", "test", "resplit"]


def read_pairs(
    source: str | Path, *, both_directions: bool = False, needs: Sequence[str] = (), which: PairSelection = "validation"
) -> list[PairSource]:
    """Read the pairs of a CSV file, or those of a Learn2Reg folder.

    The CSV's first line names its columns: ``fixed`` and ``moving`` (names of the scans) and, as far as needed,
    ``fixed_image``, ``fixed_labels``, ``fixed_landmarks``, ``fixed_exclude`` (what a registration leaves out),
    ``fixed_lesions`` and the same for ``moving``: files, relative to the CSV's folder. Where a line gives no ``fixed_image``,
    ``fixed`` may itself be the scan's file, which then gives the name; likewise ``moving``.

    Args:
        source: The CSV file or the folder.
        both_directions: Whether to take each validation pair of a Learn2Reg folder in both directions; a CSV file is taken as
            it is.
        needs: Of ``image`` and ``labels``: files that every scan must have.
        which: Of a Learn2Reg folder, as far as both subjects are there: its validation pairs, the challenge's ``test`` pairs, or
            those of the public ``resplit``'s test.

    Returns:
        The pairs, in the order of the list.

    Raises:
        InputError: For a list that is missing, empty, of another form, names a pair twice or a file that is not there, lacks
            one that is needed, or gives two scans, or two label maps of one scan, one name.
    """
    source = as_path(source)
    if not source.is_dir():
        return _from_csv(source, needs)
    if not is_learn2reg(source):
        raise MissingFileError(
            f"{source} is a folder, but none of Learn2Reg ({DATASET_FILE} is not in it): give a CSV file of pairs, or such a "
            "folder."
        )
    cohort = open_learn2reg(source)
    chosen = _chosen(cohort, which, source, both_directions=both_directions)
    members = {
        case.number: ScanSource(
            case.number,
            case.image,
            case.labels,
            mirrored_header=True,
            files=_of(case),
            label_names=lambda: dict(ORGAN_NAMES),
        )
        for case in (*cohort.cases.values(), *cohort.test)
    }
    return [PairSource(fixed=members[fixed], moving=members[moving]) for fixed, moving in chosen]


def _chosen(cohort: Learn2Reg, which: PairSelection, source: Path, *, both_directions: bool) -> list[tuple[str, str]]:
    """The numbers of the (fixed, moving) subjects of the pairs that are wanted of a Learn2Reg folder."""
    if which == "test":
        if not cohort.test_pairs:
            raise InputError(f"{source} has no pair of test subjects: give the whole release, with its imagesTs.")
        return cohort.test_pairs
    if which == "resplit":
        release = release_of(cohort.cases)
        if release is None:
            raise InputError(
                f"{source}: it is not clear whether its case numbers are those of 2020 or today's; give a whole release."
            )
        present = [pair for pair in release.resplit_pairs if cohort.cases.keys() >= set(pair)]
        if not present:
            raise InputError(
                f"{source} has fewer than two of the subjects of the re-split's test; give a whole release."
            )
        return present
    numbers = [(fixed.number, moving.number) for fixed, moving in cohort.ordered_validation_pairs]
    pairs = numbers if both_directions else cohort.validation_pairs
    if not pairs:
        raise InputError(f"{source} lists no registration_val pairs; give a CSV file of pairs instead.")
    return pairs


def _from_csv(path: Path, needs: Sequence[str]) -> list[PairSource]:
    try:
        rows = CsvRows(io.StringIO(read_text(path), newline=""))
        columns = rows.fieldnames or []
        _refuse_columns(path, columns)
        pairs = [_pair(path, row, rows.line_num, needs) for row in rows]
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read ({error.strerror}); give a CSV file of pairs or a Learn2Reg folder."
        ) from error
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file ({error}); give one with the columns fixed and moving.") from error
    if not pairs:
        raise InputError(f"{path} lists no pair; add a line for each.")
    _refuse_one_name_for_two(path, pairs)
    _refuse_twice(path, pairs)
    return pairs


def _refuse_one_name_for_two(path: Path, pairs: Sequence[PairSource]) -> None:
    """Raise InputError where a name stands for two scans or label maps: what is known by it would be the other's."""
    known: dict[tuple[str, str], Path] = {}
    for pair in pairs:
        for member in (pair.fixed, pair.moving):
            for kind, what in _BY_NAME.items():
                if (file := member.files.get(kind)) is None:
                    continue
                if (other := known.setdefault((member.name, kind), file)).resolve() != file.resolve():
                    raise InputError(
                        f"{path} lists two {what} by the name {member.name} ({other} and {file}): give each scan a name of "
                        "its own in the columns fixed and moving, and its files in fixed_image, moving_image, fixed_labels and "
                        "moving_labels."
                    )


def _refuse_twice(path: Path, pairs: Sequence[PairSource]) -> None:
    """Raise InputError for a pair that is there twice, or two whose results would have one name."""
    known: dict[str, PairSource] = {}
    for pair in pairs:
        if (other := known.setdefault(pair.name, pair)) is pair:
            continue
        if other.fixed.name == pair.fixed.name:
            raise InputError(f"{path} lists the pair {pair.name} twice; leave one line out.")
        raise InputError(
            f"{path} lists {other.fixed.name} with {other.moving.name} and {pair.fixed.name} with {pair.moving.name}, whose "
            f"results would both be called {pair.name}: give one of the scans another name."
        )


def _refuse_columns(path: Path, columns: Sequence[str]) -> None:
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown and len(unknown) == len(columns):
        raise InputError(f"{path} does not name its columns: put a first line there, as {', '.join(ROLES)}.")
    if unknown:
        raise InputError(f"{path} has an unknown column {unknown[0]!r}; there are {', '.join(COLUMNS)}.")
    if lacking := [role for role in ROLES if role not in columns]:
        raise InputError(
            f"{path} has no column {lacking[0]!r}; its first line names the columns, fixed and moving first."
        )


def _pair(path: Path, row: dict[str, str], line: int, needs: Sequence[str]) -> PairSource:
    where = f"{path}, line {line}"
    fixed, moving = (_member(path.parent, row, role, where, needs) for role in ROLES)
    return PairSource(fixed=fixed, moving=moving)


def _member(folder: Path, row: dict[str, str], role: str, where: str, needs: Sequence[str]) -> ScanSource:
    name, files = row[role] or "", dict(_files(folder, row, role, where))
    if name and "image" not in files and (scan := _scan_at(folder / name, needs)):
        name, files = name_of_scan(scan), {"image": scan, **files}
    plain = is_file_name(name, MAX_NAME)
    if "image" not in files and _names_a_file(name) and not (plain and "image" not in needs):
        raise MissingFileError(
            f"{where}: {folder / name} is not there; correct {role}. Files are relative to the folder of the "
            f"list{_slashes(name)}."
        )
    if not plain:
        raise InputError(
            f"{where}: the {role} scan needs a name that can be part of a file's name, or its file; {name[:200]!r} is neither."
        )
    for kind in needs:
        if kind not in files:
            _missing(where, f"{role}_{kind}")
    return ScanSource(
        name,
        partial(read_scan, files["image"]) if "image" in files else partial(_missing, where, f"{role}_image"),
        partial(read_label_map, files["labels"]) if "labels" in files else partial(_missing, where, f"{role}_labels"),
        partial(read_points, files["landmarks"]) if "landmarks" in files else None,
        files=files,
        label_names=partial(known_names, files["labels"]) if "labels" in files else dict,
    )


def _scan_at(path: Path, needs: Sequence[str]) -> Path | None:
    """The file there, or the folder if an image is needed: a folder of the scan's name need not be its slices."""
    try:
        return path if path.is_file() or ("image" in needs and path.is_dir()) else None
    except OSError:  # longer than a file's name can be
        return None


def _names_a_file(name: str) -> bool:
    """Whether a name ends like that of a volume."""
    try:
        known_suffix(Path(name))
    except InputError:
        return name.lower().endswith((".dcm", *READERS))
    return True


def _slashes(name: str) -> str:
    return ", and have / between folders" if "\\" in name else ""


def _of(case: Learn2RegCase) -> dict[str, Path]:
    paths = {"image": case.image_path, "labels": case.labels_path}
    return {kind: path for kind, path in paths.items() if path is not None}


def read_label_map(path: Path) -> Image:
    """The label map in a file. Raises InputError for one that holds the values of a scan."""
    labels = read_labels(path)
    refuse_values_of_scans(labels.array, str(path))
    return labels


def _files(folder: Path, row: dict[str, str], role: str, where: str) -> Iterator[tuple[str, Path]]:
    for kind in _FILES:
        if value := row.get(f"{role}_{kind}"):
            if not (folder / value).exists():
                raise MissingFileError(
                    f"{where}: {folder / value} is not there; correct {role}_{kind}. Files are relative to the folder of the "
                    f"list{_slashes(value)}."
                )
            yield kind, folder / value


def _missing(where: str, column: str) -> NoReturn:
    raise InputError(f"{where}: no {column} is given, and it is needed here: add it to the list.")
