"""Anyone's own data: an nnU-Net folder, described by a YAML file that says what its labels mean.

.. code-block:: yaml

    folder: Dataset501_Abdomen        # relative to this file; without it, the folder that this file is in
    labels:                           # organ: the label or labels that are it
      liver: [1, 2]
      kidneys: 3                      # both in one label; they are told apart by the spine
    validation: [patient_004]         # people not to train on

The folder holds ``imagesTr/NAME_0000.nii.gz``, ``labelsTr/NAME.nii.gz`` and, without annotation, ``imagesTs/NAME_0000.nii.gz``.
"""

import difflib
from pathlib import Path
from typing import Any

from mics.data.cohorts.case import KIDNEYS, Adapter, Case, Cohort, not_laid_out, visible
from mics.data.settings_file import read_yaml
from mics.errors import InputError, MissingFileError
from mics.organs import LEFT_KIDNEY, ORGAN_NAMES, RIGHT_KIDNEY

LAYOUT = "imagesTr/NAME_0000.nii.gz and labelsTr/NAME.nii.gz"

_IDS = {**{name: organ for organ, name in ORGAN_NAMES.items()}, "kidneys": KIDNEYS}
_KEYS = {"folder", "labels", "validation"}
_CHANNEL, _ENDING = "_0000", ".nii.gz"


def open_nnunet(description: Path) -> Cohort:
    """The cases of the folder that a YAML file describes. Raises :class:`InputError` if either is not as expected."""
    if description.suffix not in (".yaml", ".yml") or not description.is_file():
        raise InputError(f"{description}: an nnU-Net folder is given by a YAML file that says what its labels mean.")
    content = read_yaml(description, "the description of an nnU-Net folder")
    if not isinstance(content.get("labels"), dict) or not content.keys() <= _KEYS:
        raise InputError(f"{description} must hold labels (organ: label) and may hold folder and validation, no more.")
    place, held_out = content.get("folder", "."), content.get("validation", [])
    if not isinstance(place, str) or not isinstance(held_out, list):
        raise InputError(f"{description}: folder is to be a path, and validation a list of names in [ ].")
    mapping = _mapping(content["labels"], description)
    folder = description.parent / place
    images = visible(folder / "imagesTr", f"*{_CHANNEL}{_ENDING}")
    if not images:
        raise not_laid_out(folder, "an nnU-Net folder", LAYOUT)
    validation = {str(name) for name in held_out}
    cases = [_case(image, mapping, validation) for image in images]
    if unknown := validation - {case.name for case in cases}:
        raise InputError(f"{description} holds out {min(unknown)}, of whom {folder} has no image in imagesTr.")
    tests = visible(folder / "imagesTs", f"*{_CHANNEL}{_ENDING}")
    return Cohort([*cases, *(Case(_name(image), image, None, mapping={}, organs=()) for image in tests)])


def _mapping(labels: dict[str, Any], description: Path) -> dict[int, int]:
    mapping: dict[int, int] = {}
    for name, values in labels.items():
        if name not in _IDS:
            nearest = difflib.get_close_matches(str(name), _IDS, n=1, cutoff=0.0)[0]
            raise InputError(f"{description}: {name!r} is none of our organs; did you mean {nearest!r}?")
        found = values if isinstance(values, list) else [values]
        if not found or not all(isinstance(value, int) and 0 < value < 256 for value in found):
            raise InputError(f"{description}: give {name} one label from 1 to 255, or a list of them, not {values!r}.")
        if twice := mapping.keys() & set(found):
            raise InputError(f"{description}: label {min(twice)} is both {name} and another organ; give it to one.")
        mapping |= dict.fromkeys(found, _IDS[name])
    return mapping


def _case(image: Path, mapping: dict[int, int], validation: set[str]) -> Case:
    name = _name(image)
    labels = image.parents[1] / "labelsTr" / f"{name}{_ENDING}"
    if not labels.is_file():
        raise MissingFileError(
            f"{image} has no labels: {labels} is not there; move the image to imagesTs if it has none."
        )
    organs = {
        organ for value in mapping.values() for organ in ((RIGHT_KIDNEY, LEFT_KIDNEY) if value == KIDNEYS else (value,))
    }
    return Case(name, image, labels, mapping, tuple(sorted(organs)), "val" if name in validation else "train")


def _name(image: Path) -> str:
    return image.name.removesuffix(f"{_CHANNEL}{_ENDING}")


NNUNET = Adapter(
    name="nnunet",
    title="an nnU-Net folder of your own",
    people="any",
    annotated="as its YAML file says",
    layout=f"a YAML file with labels, and {LAYOUT}",
    quirks="",
    open=open_nnunet,
)
