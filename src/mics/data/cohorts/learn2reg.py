"""Learn2Reg 2020 Task 3 (AbdomenCTCT): a folder with ``imagesTr``, ``labelsTr`` and ``AbdomenCTCT_dataset.json``.

The challenge's headers say RAS (first axis towards the patient's right), but its arrays run the other way: the liver
is at low i. Their true orientation is LAS, and that is what the volumes read here carry; taken by its header, such a
volume is the patient's mirror image. Files whose header has already been put right are left as they are.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_image, read_labels

DATASET_FILE = "AbdomenCTCT_dataset.json"


@dataclass(frozen=True)
class Case:
    """One person: the challenge's case number ("0027") and the files there are."""

    number: str
    image_path: Path | None
    labels_path: Path | None

    def image(self) -> Image:
        """The CT in HU, in its true orientation. Raises :class:`InputError` if there is none."""
        return _settled(read_image(_present(self.image_path, self.number, "an image")))

    def labels(self) -> Image:
        """The organ labels, in their true orientation. Raises :class:`InputError` if there are none."""
        return _settled(read_labels(_present(self.labels_path, self.number, "labels")))


@dataclass(frozen=True)
class Learn2Reg:
    """A Learn2Reg folder, its cases by number and its validation pairs."""

    cases: dict[str, Case]
    validation_pairs: list[tuple[str, str]]
    """(fixed, moving) of the json's ``registration_val``, as listed there."""

    @property
    def validation(self) -> list[Case]:
        """The people of the validation pairs."""
        numbers = {number for pair in self.validation_pairs for number in pair}
        return [self.cases[number] for number in sorted(numbers)]

    @property
    def training(self) -> list[Case]:
        """Everybody else: the json lists the people of the validation pairs among its training cases too."""
        held_out = {case.number for case in self.validation}
        return [case for number, case in sorted(self.cases.items()) if number not in held_out]

    @property
    def ordered_validation_pairs(self) -> list[tuple[Case, Case]]:
        """(fixed, moving), every validation pair in both directions."""
        pairs = {pair for a, b in self.validation_pairs for pair in ((a, b), (b, a))}
        return [(self.cases[fixed], self.cases[moving]) for fixed, moving in sorted(pairs)]


def open_learn2reg(folder: str | Path) -> Learn2Reg:
    """Read the folder's json. Raises :class:`InputError` if it is missing, not as expected, or names missing files."""
    folder = Path(folder)
    description = _read_json(folder / DATASET_FILE)
    try:
        listed = [_case(folder, item) for item in description["training"]]
        pairs = [(_number(p["fixed"]), _number(p["moving"])) for p in description.get("registration_val", [])]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"{folder / DATASET_FILE} is not laid out as Learn2Reg's (training, registration_val): {error!r} is amiss."
        ) from error
    cases = {case.number: case for case in listed}
    unknown = {number for pair in pairs for number in pair} - cases.keys()
    if unknown:
        raise InputError(
            f"{folder / DATASET_FILE} pairs case {min(unknown)}, which is not among its training cases; add it there."
        )
    return Learn2Reg(cases, pairs)


def label_maps(folder: str | Path) -> list[Case]:
    """People of whom there are labels but no image: every ``label0002.nii.gz`` of a folder, by number.

    On the challenge's grid and in its array order, hence settled in the same way.
    """
    paths = sorted(Path(folder).glob("label[0-9]*.nii.gz"))
    if not paths:
        raise InputError(f"{folder} holds no label map named like label0002.nii.gz; give the folder that does.")
    return [Case(path.name.removeprefix("label").removesuffix(".nii.gz"), None, path) for path in paths]


def _settled(volume: Image) -> Image:
    grid = volume.grid
    if grid.orientation == "LAS":
        return volume
    if grid.orientation != "RAS":
        raise InputError(
            f"A Learn2Reg volume has header orientation RAS or, put right, LAS; this one has {grid.orientation}."
        )
    return replace(volume, grid=mirror(grid))


def mirror(grid: Grid) -> Grid:
    """The same voxels with the world's left and right exchanged."""
    x, y, z = grid.origin
    direction = (*(-component for component in grid.direction[:3]), *grid.direction[3:])
    return replace(grid, origin=(-x, y, z), direction=direction)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a Learn2Reg AbdomenCTCT folder.") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); take the challenge's own file.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; take the challenge's own file.")
    return content


def _case(folder: Path, item: dict[str, str]) -> Case:
    paths = {kind: folder / item[kind] for kind in ("image", "label") if kind in item}
    for path in paths.values():
        if not path.is_file():
            raise InputError(f"{folder / DATASET_FILE} names {path}, which is not there; complete the folder.")
    return Case(_number(item["image"]), paths["image"], paths.get("label"))


def _number(name: str) -> str:
    """Case number in a file name: 0027 of ``./imagesTr/AbdomenCTCT_0027_0000.nii.gz``."""
    return Path(name).name.split("_")[1].split(".")[0]


def _present(path: Path | None, number: str, what: str) -> Path:
    if path is None:
        raise InputError(f"Case {number} comes without {what}; leave it out here.")
    return path
