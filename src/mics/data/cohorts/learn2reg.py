"""Learn2Reg's AbdomenCTCT, in both releases (Task 3 of 2020).

Today's is a folder with ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``AbdomenCTCT_dataset.json``, which names the validation
pairs; that of 2020 has ``Training/img/img0001.nii.gz``, ``Training/label/label0001.nii.gz`` and ``Testing/img``. The splits that
were published apart from the files are in :mod:`mics.data.cohorts.splits`.

The challenge's headers say RAS (first axis towards the patient's right), but its arrays run the other way: the liver
is at low i. Their true orientation is LAS, and that is what the volumes read here carry; taken by its header, such a
volume is the patient's mirror image. Files whose header has already been put right are left as they are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mics.data.cohorts import case as common
from mics.data.cohorts.case import Adapter, Cohort, not_laid_out, visible
from mics.data.cohorts.splits import LEARN2REG_2020, LEARN2REG_TODAY, Pairs
from mics.data.names import is_file_name
from mics.errors import GeometryError, InputError, MissingFileError
from mics.image.checks import refuse_values_of_scans
from mics.image.grid import Grid
from mics.image.io import Image, read_labels

DATASET_FILE = "AbdomenCTCT_dataset.json"
LAYOUT = f"{DATASET_FILE} with imagesTr and labelsTr, or Training/img and Training/label"


@dataclass(frozen=True)
class Learn2RegCase(common.Case):
    """One subject; ``name`` is the challenge's case number ("0027")."""

    @property
    def number(self) -> str:
        """The challenge's case number."""
        return self.name

    def labels(self, image: Image | None = None) -> Image:
        """The organ labels, in their true orientation; with the CT ``image`` given they must lie on its grid.

        Raises :class:`InputError` if there are none, if they do not, and for the values of a scan.
        """
        path = common.present(self.labels_path, self.name, "labels")
        labels = read_labels(path)
        refuse_values_of_scans(labels.array, str(path))
        return self.fix_orientation(labels) if image is None else self.align_to_image(labels, image)

    def fix_orientation(self, volume: Image) -> Image:
        """The volume with the orientation that its array has, LAS; raises :class:`InputError` for a third one."""
        grid = volume.grid
        if grid.orientation == "LAS":
            return volume
        if grid.orientation != "RAS":
            raise GeometryError(
                f"A Learn2Reg volume has header orientation RAS or, put right, LAS; this one has {grid.orientation}."
            )
        return replace(volume, grid=mirror(grid))


@dataclass(frozen=True)
class Learn2Reg:
    """A Learn2Reg folder, its annotated cases by number, its validation pairs, and the test subjects."""

    cases: dict[str, Learn2RegCase]
    validation_pairs: list[tuple[str, str]]
    """(fixed, moving) of the json's ``registration_val``, as listed there; of a whole release without it the published ones."""
    test: list[Learn2RegCase] = field(default_factory=list)
    """Subjects whose annotations the challenge keeps."""
    test_pairs: list[tuple[str, str]] = field(default_factory=list)
    """(fixed, moving) that the challenge scores, as published, as far as both subjects are there."""

    @property
    def validation(self) -> list[Learn2RegCase]:
        """The subjects of the validation pairs."""
        numbers = {number for pair in self.validation_pairs for number in pair}
        return [self.cases[number] for number in sorted(numbers)]

    @property
    def training(self) -> list[Learn2RegCase]:
        """Everybody else: the json lists the subjects of the validation pairs among its training cases too."""
        held_out = {case.number for case in self.validation}
        return [case for number, case in sorted(self.cases.items()) if number not in held_out]

    @property
    def ordered_validation_pairs(self) -> list[tuple[Learn2RegCase, Learn2RegCase]]:
        """(fixed, moving), every validation pair in both directions."""
        pairs = {pair for a, b in self.validation_pairs for pair in ((a, b), (b, a))}
        return [(self.cases[fixed], self.cases[moving]) for fixed, moving in sorted(pairs)]


def is_learn2reg(folder: Path) -> bool:
    """Whether a folder is laid out as one of the two releases."""
    return (folder / DATASET_FILE).is_file() or (folder / "Training" / "img").is_dir()


def open_learn2reg(folder: str | Path) -> Learn2Reg:
    """A folder of either release. Raises :class:`InputError` if it is neither, or its json is amiss or names missing files."""
    folder = Path(folder)
    if (folder / "Training" / "img").is_dir():
        return _open_2020(folder)
    description = _read_json(folder / DATASET_FILE)
    try:
        listed = [_case(folder, item) for item in description["training"]]
        pairs = [(_number(p["fixed"]), _number(p["moving"])) for p in description.get("registration_val", [])]
        named = [folder / (t["image"] if isinstance(t, dict) else t) for t in description.get("test", [])]
        tests = [_unlabelled(_number(path.name), path) for path in named if path.is_file()]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"{folder / DATASET_FILE} is not laid out as Learn2Reg's (training, registration_val): {error!r} is amiss."
        ) from error
    cases = {case.number: case for case in listed}
    if twice := [case.number for case in listed if cases[case.number] is not case]:
        raise InputError(
            f"{folder / DATASET_FILE} lists case {twice[0]} twice among its training cases; leave one out."
        )
    if "registration_val" not in description and cases.keys() == {*LEARN2REG_TODAY.train, *LEARN2REG_TODAY.validation}:
        pairs = list(LEARN2REG_TODAY.validation_pairs)
    unknown = {number for pair in pairs for number in pair} - cases.keys()
    if unknown:
        raise InputError(
            f"{folder / DATASET_FILE} pairs case {min(unknown)}, which is not among its training cases; add it there."
        )
    return Learn2Reg(cases, pairs, tests, _there(LEARN2REG_TODAY.test_pairs, tests))


def open_cohort(folder: Path) -> Cohort:
    """All cases with their split, for the preparation. Raises :class:`InputError` as :func:`open_learn2reg` does."""
    if not is_learn2reg(folder):
        raise not_laid_out(folder, "Learn2Reg AbdomenCTCT", LAYOUT)
    dataset = open_learn2reg(folder)
    cases = [*dataset.training, *(replace(case, split="val") for case in dataset.validation), *dataset.test]
    return Cohort(sorted(cases, key=lambda case: case.name), registered=True)


def label_maps(folder: str | Path) -> list[Learn2RegCase]:
    """Subjects of whom there are labels but no image: every ``NAME.nii.gz`` of a folder, by name; ``label0002`` is 0002.

    On the challenge's grid and in its array order, hence with the orientation fixed as well. Raises
    :class:`InputError` where there is none, or two of one subject.
    """
    cases: dict[str, Learn2RegCase] = {}
    for path in visible(Path(folder), "*.nii.gz"):
        name = path.name.removeprefix("label").removesuffix(".nii.gz")
        if not is_file_name(name):
            raise InputError(f"{path}: rename it, files cannot be called {name[:200]!r}.")
        if name in cases:
            raise InputError(f"{path} and {cases[name].labels_path} are both of {name}; leave one of them there.")
        cases[name] = Learn2RegCase(name, None, path)
    if not cases:
        raise MissingFileError(f"{folder} holds no label map (*.nii.gz); give the folder that does.")
    return [case for _, case in sorted(cases.items())]


def mirror(grid: Grid) -> Grid:
    """The same voxels with the world's left and right exchanged."""
    x, y, z = grid.origin
    direction = (*(-component for component in grid.direction[:3]), *grid.direction[3:])
    return replace(grid, origin=(-x, y, z), direction=direction)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read ({error.strerror}); give a Learn2Reg AbdomenCTCT folder."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); take the challenge's own file.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; take the challenge's own file.")
    return content


def _open_2020(folder: Path) -> Learn2Reg:
    """The release of 2020, whose validation pairs are published apart from it."""
    images = {path.name[3:7]: path for path in visible(folder / "Training" / "img", "img[0-9]*.nii*")}
    labels = {path.name[5:9]: path for path in visible(folder / "Training" / "label", "label[0-9]*.nii*")}
    alone = sorted(images.keys() ^ labels.keys())
    if alone or not images:
        problem = f"case {alone[0]} has an image or labels, but not both" if alone else "Training/img holds no image"
        raise InputError(f"{folder} is not complete: {problem}; unpack the release of 2020 again.")
    cases = {number: Learn2RegCase(number, path, labels[number]) for number, path in images.items()}
    pairs = [pair for pair in LEARN2REG_2020.validation_pairs if cases.keys() >= set(pair)]
    tests = visible(folder / "Testing" / "img", "img[0-9]*.nii*")
    subjects = [_unlabelled(path.name[3:7], path) for path in tests]
    return Learn2Reg(cases, pairs, subjects, _there(LEARN2REG_2020.test_pairs, subjects))


def _there(pairs: Pairs, subjects: Sequence[Learn2RegCase]) -> list[tuple[str, str]]:
    """Those of the pairs whose subjects are among these."""
    numbers = {case.number for case in subjects}
    return [pair for pair in pairs if numbers.issuperset(pair)]


def _unlabelled(number: str, path: Path) -> Learn2RegCase:
    return Learn2RegCase(number, path, None, organs=(), split="test")


def _case(folder: Path, item: dict[str, str]) -> Learn2RegCase:
    paths = {kind: folder / item[kind] for kind in ("image", "label") if kind in item}
    for path in paths.values():
        if not path.is_file():
            raise MissingFileError(f"{folder / DATASET_FILE} names {path}, which is not there; complete the folder.")
    return Learn2RegCase(_number(item["image"]), paths["image"], paths.get("label"))


def _number(name: str) -> str:
    """Case number in a file name: 0027 of ``./imagesTr/AbdomenCTCT_0027_0000.nii.gz``. Raises IndexError where there is none."""
    number = Path(name).name.split("_")[1].split(".")[0]
    if not is_file_name(number):
        raise IndexError(f"the case number of {name[:200]!r}")
    return number


LEARN2REG = Adapter(
    name="learn2reg",
    title="Learn2Reg AbdomenCTCT (2020 and today)",
    subjects="50 (30 annotated)",
    annotated="all 13 organs",
    layout=LAYOUT,
    known_issues="mirrored headers put right; its own splits and 45 validation pairs; already registered to one frame",
    open=open_cohort,
)
