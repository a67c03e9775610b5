"""What the adapters of all cohorts have in common: a case, the cohort it belongs to, and what is known of its publisher."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mics.data.cohorts.kidneys import split_kidneys
from mics.errors import GeometryError, InputError, MissingFileError
from mics.image.checks import refuse_values_of_scans
from mics.image.grid import GRID_TOLERANCE_VOXELS
from mics.image.hounsfield import read_scan
from mics.image.io import Image, read_labels
from mics.image.lattice import difference
from mics.organs import LEFT_KIDNEY, ORGAN_NAMES, RIGHT_KIDNEY

Split = Literal["train", "val", "test"]

KIDNEYS = 255
"""In a mapping: this label is both kidneys, which are told apart by the side of the spine that they lie on."""

_SHOWN = 5


@dataclass(frozen=True)
class Case:
    """One subject: where the scan and the annotations are, and what the annotations mean.

    ``image_path`` is a file or the folder of a DICOM series. ``mapping`` takes the publisher's labels to organ ids
    (:mod:`mics.organs`) or :data:`KIDNEYS`; labels that it does not list are dropped. ``organs`` are the ids that
    were looked for when the case was labelled. ``others`` are labels that mean something else than our organs, None where it is
    not known which there are. ``known_issues`` are sentences about this case.
    """

    name: str
    image_path: Path | None
    labels_path: Path | None
    mapping: Mapping[int, int] = field(default_factory=lambda: {organ: organ for organ in ORGAN_NAMES})
    organs: tuple[int, ...] = tuple(ORGAN_NAMES)
    split: Split = "train"
    """``val`` and ``test`` subjects must not be trained on."""
    known_issues: tuple[str, ...] = ()
    others: frozenset[int] | None = None

    def image(self) -> Image:
        """Read the CT.

        Returns:
            HU, (X, Y, Z), in its true orientation (:meth:`fix_orientation`).

        Raises:
            InputError: If there is none, and as :func:`mics.image.hounsfield.read_scan` does.
        """
        return self.fix_orientation(read_scan(present(self.image_path, self.name, "an image")))

    def labels(self, image: Image | None = None) -> Image:
        """Read the annotations as organ ids; warns of labels that have no name.

        Args:
            image: The CT, if it has been read already.

        Returns:
            Organ ids (:mod:`mics.organs`), uint8, (X, Y, Z), on the grid of the CT.

        Raises:
            InputError: If there are none, if they lie on another grid, for the values of a scan, and as
                :func:`mics.image.io.read_labels` does.
        """
        image = self.image() if image is None else image
        path = present(self.labels_path, self.name, "labels")
        labels = self.align_to_image(read_labels(path), image)
        refuse_values_of_scans(labels.array, str(path))
        self._warn_of_unnamed(labels)
        table = np.zeros(256, np.uint8)
        for value, organ in self.mapping.items():
            table[value] = organ
        known = (labels.array >= 0) & (labels.array < len(table))
        mapped = Image(table[np.where(known, labels.array, 0)], image.grid)
        if KIDNEYS not in self.mapping.values():
            return mapped
        right, left = split_kidneys(mapped.array == KIDNEYS, image)
        return Image(
            np.where(right, RIGHT_KIDNEY, np.where(left, LEFT_KIDNEY, mapped.array)).astype(np.uint8), image.grid
        )

    def _warn_of_unnamed(self, labels: Image) -> None:
        if self.others is None:
            return
        found = set(np.unique(labels.array).tolist()) - {0} - self.mapping.keys() - self.others
        if found:
            shown = ", ".join(map(str, sorted(found)[:_SHOWN]))
            warnings.warn(
                f"{self.name} has labels that its data set does not name ({shown}): they are taken for background.",
                UserWarning,
                stacklevel=3,
            )

    def fix_orientation(self, volume: Image) -> Image:
        """Put a volume right where this cohort's headers are wrong; a cohort's own class says how.

        Args:
            volume: A scan or label map as it was read.

        Returns:
            The volume in its true orientation; here as it is.
        """
        return volume

    def align_to_image(self, labels: Image, image: Image) -> Image:
        """Bring the label map onto the grid of the CT; a cohort's own class says how, where its files lie otherwise.

        Args:
            labels: As it was read.
            image: The CT.

        Returns:
            The label map; here in its true orientation alone.

        Raises:
            InputError: If it lies elsewhere than the CT.
        """
        labels = self.fix_orientation(labels)
        if not labels.grid.is_close(image.grid, GRID_TOLERANCE_VOXELS * min(image.grid.spacing)):
            raise GeometryError(
                f"{self.labels_path} is on another grid than {self.image_path} ({difference(labels.grid, image.grid)}): get "
                "both again from the publisher."
            )
        return labels


@dataclass(frozen=True)
class Cohort:
    """Content of a folder: its cases, and the cases that are left out, with the reason (``{name: reason}``)."""

    cases: list[Case]
    excluded: dict[str, str] = field(default_factory=dict)
    registered: bool = False
    """Whether the publisher has brought all cases to one grid by affine registration, so that voxels correspond."""


@dataclass(frozen=True)
class Adapter:
    """A public cohort: what `mics prepare --list` shows of it, and how its folder is opened."""

    name: str
    title: str
    subjects: str
    annotated: str
    layout: str
    known_issues: str
    open: Callable[[Path], Cohort]
    """Raises :class:`InputError` for a folder that is not laid out so."""


def not_laid_out(folder: Path, title: str, expected: str) -> InputError:
    """Make the error for a folder that is not a cohort's: what was expected there, and what is there instead.

    Args:
        folder: What was given.
        title: The cohort's, as a sentence names it.
        expected: What lies in its folder.

    Returns:
        The error, for the caller to raise.
    """
    if not folder.is_dir():
        return MissingFileError(f"{folder} is not a folder: give the one in which {title} was unpacked ({expected}).")
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return InputError(f"{folder} is not laid out as {title}: expected {expected}, found {shown or 'nothing'}.")


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files or folders of a name, sorted, without the hidden companions (``._name``) that archives made on macOS hold."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def present(path: Path | None, name: str, what: str) -> Path:
    """The path; raises :class:`InputError` for a case that has none."""
    if path is None:
        raise InputError(f"Case {name} comes without {what}; leave it out here.")
    return path
