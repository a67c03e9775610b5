"""Which pairs a batch has: those of a list, or one scan and every scan of a folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mics.data.names import name_of_scan, names_of_labels
from mics.data.pairs import COLUMNS, ROLES, read_pairs
from mics.errors import InputError, MissingFileError
from mics.files.folder import SYSTEM_FILES
from mics.files.paths import as_path
from mics.image.checks import known_suffix
from mics.image.content import is_dicom
from mics.image.io import READERS


@dataclass(frozen=True)
class ListedPair:
    """A pair to register, by the names of its scans and its files, which have the keys of :data:`mics.data.pairs.COLUMNS`.

    ``given``: the same files as the list names them, or by their own names where there is none.
    """

    fixed: str
    moving: str
    files: Mapping[str, Path]
    given: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """``FIXED_MOVING``, which its folder is called."""
        return f"{self.fixed}_{self.moving}"

    def with_listed_names(self, message: str) -> str:
        """A sentence with the pair's files, and what lies beside them, as the list names them, and no other folder of theirs."""
        names: dict[str, str] = {}
        for kind, path in self.files.items():
            name = self.given.get(kind, path.name)
            names[str(path)] = name
            folder = "" if "/" not in name else name.rsplit("/", 1)[0] + "/"
            if path.parent != path.parent.parent:
                names.setdefault(f"{path.parent}/", folder)
        for full in sorted(names, key=len, reverse=True):
            message = message.replace(full, names[full])
        return message


def listed_pairs(source: str | Path) -> list[ListedPair]:
    """The pairs of a CSV file or a Learn2Reg folder (:func:`mics.data.pairs.read_pairs`), whose scans must all be there.

    Files of a Learn2Reg folder are taken as their headers lie, as `mics register` takes them.
    """
    listed = []
    folder = source if (source := as_path(source)).is_dir() else source.parent
    for pair in read_pairs(source, needs=("image",)):
        files = {
            f"{role}_{kind}": path
            for role, member in (("fixed", pair.fixed), ("moving", pair.moving))
            for kind, path in member.files.items()
        }
        given = {
            kind: (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
            for kind, path in files.items()
        }
        absolute = {kind: path.absolute() for kind, path in files.items()}
        listed.append(ListedPair(pair.fixed.name, pair.moving.name, absolute, given))
    return listed


def pairs_of_folder(
    fixed: str | Path,
    folder: str | Path,
    *,
    fixed_labels: str | Path | None = None,
    moving_labels: str | Path | None = None,
) -> list[ListedPair]:
    """Every scan of a folder, in the order of their names, to be brought onto ``fixed``, a patient or a template.

    Args:
        fixed: a file or the folder of a DICOM series; where it lies in ``folder``, it is left out there.
        folder: of files that MICS reads, and of folders of a DICOM series each; other files are passed over. What is called as
            the label map of a scan beside it (:func:`mics.data.names.names_of_labels`) is taken for that, and for no scan.
        fixed_labels: label map of ``fixed``; by default the one beside it in ``folder``, if any.
        moving_labels: a folder with the label map of every scan, called as the scan is, whatever the ending; by default those
            beside the scans.

    Raises:
        InputError: for a folder that is not there or holds no scan, scans of one name, and a scan without its label map.
    """
    fixed, folder = as_path(fixed), as_path(folder)
    if not fixed.exists():
        raise MissingFileError(f"{fixed} does not exist.")
    volumes = _volumes(folder)
    maps = {name: [volumes[own] for own in names_of_labels(name) if own in volumes] for name in volumes}
    beside = {name: own[0] for name, own in maps.items() if own}
    no_scans = {path for own in maps.values() for path in own}
    scans = {name: path for name, path in volumes.items() if path not in no_scans and not path.samefile(fixed)}
    if not scans:
        raise MissingFileError(f"{folder} holds no scan to bring onto {fixed}: give NIfTI, NRRD, MHA or DICOM folders.")
    labels = beside if moving_labels is None else _volumes(as_path(moving_labels))
    if moving_labels is not None and (lacking := [name for name in scans if name not in labels]):
        raise MissingFileError(f"{moving_labels} holds no label map called {lacking[0]}: give one for each scan.")
    own = {"fixed_image": fixed.absolute()}
    target = name_of_scan(fixed)
    if fixed_labels is not None:
        own["fixed_labels"] = as_path(fixed_labels).absolute()
        if not own["fixed_labels"].exists():
            raise MissingFileError(f"{fixed_labels} does not exist.")
    elif target in beside and volumes[target].samefile(fixed):
        own["fixed_labels"] = beside[target].absolute()
    return [
        ListedPair(
            target,
            name,
            {
                **own,
                "moving_image": path.absolute(),
                **({"moving_labels": labels[name].absolute()} if name in labels else {}),
            },
        )
        for name, path in scans.items()
    ]


def as_csv(pairs: Sequence[ListedPair]) -> str:
    """The list, which :func:`listed_pairs` and `mics evaluate` read."""
    used = [column for column in COLUMNS if column in ROLES or any(column in pair.files for pair in pairs)]
    text = io.StringIO()
    table = csv.DictWriter(text, used, lineterminator="\n")
    table.writeheader()
    for pair in pairs:
        table.writerow(
            {"fixed": pair.fixed, "moving": pair.moving, **{key: str(path) for key, path in pair.files.items()}}
        )
    return text.getvalue()


def _volumes(folder: Path) -> dict[str, Path]:
    """What may be a scan in a folder, by its name; raises InputError where two have one name."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is no folder: give the one that holds the scans.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name in SYSTEM_FILES or path.name.startswith(".") or not (_is_series(path) or _is_volume(path)):
            continue
        name = name_of_scan(path)
        if name in found:
            raise InputError(f"{found[name]} and {path} have one name without their endings: rename one of them.")
        found[name] = path
    return found


def _is_series(path: Path) -> bool:
    """Whether a folder holds DICOM files, as far as one of them says."""
    try:
        return path.is_dir() and any(
            file.suffix.lower() == ".dcm" or is_dicom(file) for file in path.iterdir() if file.is_file()
        )
    except OSError:  # not for this user
        return False


def _is_volume(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() == ".dcm" or any(path.name.lower().endswith(ending) for ending in READERS):
        return True
    try:
        known_suffix(path)
    except InputError:
        return False
    return True
