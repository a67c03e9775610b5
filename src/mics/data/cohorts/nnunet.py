"""Anyone's own data: an nnU-Net folder, by its own dataset.json, or by a YAML file that says what its labels mean.

.. code-block:: yaml

    folder: Dataset501_Abdomen        # relative to this file; without it, the folder that this file is in
    labels:                           # organ: the label or labels that are it
      liver: [1, 2]
      kidneys: 3                      # both in one label; they are told apart by the spine
    validation: [patient_004]         # subjects not to train on

The folder holds ``imagesTr/NAME_0000.nii.gz``, ``labelsTr/NAME.nii.gz`` and, without annotation, ``imagesTs/NAME_0000.nii.gz``.

Of ``dataset.json``, in the form of nnU-Net's first and second version, ``labels``, ``file_ending`` and ``channel_names`` (or
``modality``) are read; labels whose names are none of our organs are left out.
"""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mics.data.cohorts.case import KIDNEYS, Adapter, Case, Cohort, Split, not_laid_out, visible
from mics.data.settings_file import read_yaml
from mics.errors import InputError, MissingFileError
from mics.files.text import read_text
from mics.organs import LEFT_KIDNEY, ORGAN_NAMES, RIGHT_KIDNEY

LAYOUT = "imagesTr/NAME_0000.nii.gz and labelsTr/NAME.nii.gz"

DATASET = "dataset.json"
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Of files that say where they lie in the patient."""

_IDS = {**{name: organ for organ, name in ORGAN_NAMES.items()}, "kidneys": KIDNEYS}
_KEYS = {"folder", "labels", "validation"}
# What other data sets call the words of our names.
_WORDS = {
    "esophagus": "oesophagus",
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "adrenal": "adrenal gland",
}


@dataclass(frozen=True)
class _Layout:
    """How a case's files are called: ``NAME_0000.nii.gz``, and what its labels mean."""

    mapping: dict[int, int]
    channel: str = "_0000"
    ending: str = ".nii.gz"
    others: frozenset[int] | None = None
    """Labels that are named and none of our organs; None where it is not known which there are."""

    def images(self, folder: Path) -> list[Path]:
        return visible(folder, f"*{self.channel}{self.ending}")

    def name(self, image: Path) -> str:
        return image.name.removesuffix(f"{self.channel}{self.ending}")


def open_nnunet(description: Path) -> Cohort:
    """The cases of a folder that its dataset.json or a YAML file describes; of the folder itself, its dataset.json.

    Raises :class:`InputError` if it is not as expected.
    """
    if (description / DATASET).is_file():
        description = description / DATASET
    if description.suffix == ".json" and description.is_file():
        return _cohort(description, description.parent, _layout_of_dataset(description), set())
    if description.suffix not in (".yaml", ".yml") or not description.is_file():
        raise InputError(
            f"{description}: an nnU-Net folder is given by its dataset.json, or by a YAML file that says what its labels mean."
        )
    content = read_yaml(description, "the description of an nnU-Net folder")
    if not isinstance(content.get("labels"), dict) or not content.keys() <= _KEYS:
        raise InputError(f"{description} must hold labels (organ: label) and may hold folder and validation, no more.")
    place, held_out = content.get("folder", "."), content.get("validation", [])
    if not isinstance(place, str) or not isinstance(held_out, list):
        raise InputError(f"{description}: folder is to be a path, and validation a list of names in [ ].")
    layout = _Layout(_mapping(content["labels"], description))
    return _cohort(description, description.parent / place, layout, {str(name) for name in held_out})


def _cohort(description: Path, folder: Path, layout: _Layout, validation: set[str]) -> Cohort:
    images = layout.images(folder / "imagesTr")
    if not images:
        expected = f"imagesTr/NAME{layout.channel}{layout.ending} and labelsTr/NAME{layout.ending}"
        raise not_laid_out(folder, "an nnU-Net folder", expected)
    cases = [_case(image, layout, validation) for image in images]
    if unknown := validation - {case.name for case in cases}:
        raise InputError(f"{description} holds out {min(unknown)}, of whom {folder} has no image in imagesTr.")
    tests = layout.images(folder / "imagesTs")
    return Cohort([*cases, *(Case(layout.name(image), image, None, mapping={}, organs=()) for image in tests)])


def _layout_of_dataset(path: Path) -> _Layout:
    """What a dataset.json says; https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md."""
    try:
        content = json.loads(read_text(path))
        labels = dict(content["labels"])
        channels = {
            str(key): str(name) for key, name in dict(content.get("channel_names") or content["modality"]).items()
        }
        ending = str(content.get("file_ending", ".nii.gz"))
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not nnU-Net's dataset.json: it must hold labels and channel_names.") from error
    if "dataset" in content:
        raise InputError(f"{path} lists its files one by one (dataset); lay them out as {LAYOUT}.")
    if ending not in ENDINGS:
        raise InputError(f"{path}: files that end in {ending} say no place in the patient; give {', '.join(ENDINGS)}.")
    ct = [key for key, name in channels.items() if name.casefold() == "ct"]
    if len(ct) != 1 or not ct[0].isdecimal():
        shown = ", ".join(channels.values()) or "nothing"
        raise InputError(f"{path}: one of its channels must be CT, and they are {shown}.")
    mapping = _mapping_of_dataset(labels, path)
    return _Layout(mapping, f"_{int(ct[0]):04d}", ending, _numbers(labels) - mapping.keys())


def _numbers(labels: dict[str, Any]) -> frozenset[int]:
    """All numbers that a dataset.json names, in either of its versions; a region names those that it consists of."""
    found: set[int] = set()
    for name, value in labels.items():
        values = [name] if isinstance(value, str) else value if isinstance(value, list) else [value]
        found.update(int(one) for one in values if str(one).isdecimal())
    return frozenset(found)


def _mapping_of_dataset(labels: dict[str, Any], path: Path) -> dict[int, int]:
    if all(str(key).isdecimal() for key in labels):  # the first version has id: name
        labels = {str(name): int(key) for key, name in labels.items()}
    if "ignore" in labels:
        raise InputError(
            f"{path} has a label for what is not annotated (ignore), which there is none for here: leave it out."
        )
    known = {name: found for name in labels if (found := _organ(str(name))) is not None}
    if not known:
        raise InputError(f"{path}: none of its labels ({', '.join(map(str, labels))}) is one of our organs.")
    if twice := next((organ for organ in known.values() if list(known.values()).count(organ) > 1), None):
        raise InputError(f"{path}: two of its labels are {twice}; give them one name, and both numbers in a list.")
    return _mapping({found: labels[name] for name, found in known.items()}, path)


def _organ(name: str) -> str | None:
    """The organ that a name means, whatever the order of its words: kidney_right, Right Kidney, esophagus."""
    by_words = {frozenset(organ.split()): organ for organ in _IDS}
    words = re.sub(r"[^a-z]+", " ", name.casefold().replace("gall bladder", "gallbladder")).split()
    found = {part for word in words for part in _WORDS.get(word, word).split()}
    return by_words.get(frozenset(found)) or ("kidneys" if found == {"kidney"} else None)


def _mapping(labels: dict[str, Any], description: Path) -> dict[int, int]:
    mapping: dict[int, int] = {}
    for given, values in labels.items():
        name = _organ(str(given))
        if name is None:
            nearest = difflib.get_close_matches(str(given), _IDS, n=1, cutoff=0.0)[0]
            raise InputError(f"{description}: {given!r} is none of our organs; did you mean {nearest!r}?")
        found = values if isinstance(values, list) else [values]
        if not found or not all(isinstance(value, int) and 0 < value < 256 for value in found):
            raise InputError(f"{description}: give {name} one label from 1 to 255, or a list of them, not {values!r}.")
        if twice := mapping.keys() & set(found):
            raise InputError(f"{description}: label {min(twice)} is both {name} and another organ; give it to one.")
        mapping |= dict.fromkeys(found, _IDS[name])
    return mapping


def _case(image: Path, layout: _Layout, validation: set[str]) -> Case:
    name = layout.name(image)
    labels = image.parents[1] / "labelsTr" / f"{name}{layout.ending}"
    if not labels.is_file():
        raise MissingFileError(
            f"{image} has no labels: {labels} is not there; move the image to imagesTs if it has none."
        )
    organs = {
        organ
        for value in layout.mapping.values()
        for organ in ((RIGHT_KIDNEY, LEFT_KIDNEY) if value == KIDNEYS else (value,))
    }
    split: Split = "val" if name in validation else "train"
    return Case(name, image, labels, layout.mapping, tuple(sorted(organs)), split, others=layout.others)


NNUNET = Adapter(
    name="nnunet",
    title="an nnU-Net folder of your own",
    subjects="any",
    annotated="as its dataset.json or YAML file says",
    layout=f"dataset.json, or a YAML file with labels, and {LAYOUT}",
    known_issues="",
    open=open_nnunet,
)
