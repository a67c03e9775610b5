"""The frame that all cases are brought to: a reference case, and the grid of the training volumes around it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mics.data.cohorts.case import Case, Cohort
from mics.data.names import is_file_name
from mics.errors import InputError, RunError, SettingError
from mics.files.whole import write_text
from mics.image.grid import NETWORK_ORIENTATION, Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image, read_image, write_image
from mics.image.resample import resample

FRAME, REFERENCE = "frame.json", "reference.nii.gz"
PAPER_SPACING_MM, PAPER_SIZE = 2.0, (192, 160, 256)
_MAX_MM, _MAX_VOXELS = 100.0, 2048


@dataclass(frozen=True)
class Frame:
    """``grid`` of every prepared volume; ``reference``, the name of the case that the others are registered to.

    ``scan``: the reference's own grid. ``registered``: the cohort whose cases already correspond to the reference voxel by
    voxel, none if empty. ``organs_mm``: where the reference's organs are, ``{id: (x, y, z)}`` in LPS millimetres.
    """

    reference: str
    registered: str
    scan: Grid
    grid: Grid
    organs_mm: dict[int, tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        organs = {str(organ): [round(x, 2) for x in place] for organ, place in self.organs_mm.items()}
        return {**vars(self), "scan": self.scan.to_dict(), "grid": self.grid.to_dict(), "organs_mm": organs}


def full_name(cohort: str, case: Case) -> str:
    """A name that no other case of any cohort has; raises :class:`InputError` where files cannot be called after it."""
    name = f"{cohort}_{case.name}"
    if not is_file_name(name):
        raise InputError(f"{case.image_path or case.labels_path}: rename it, files cannot be called {name[:200]!r}.")
    return name


def choose_reference(cohorts: dict[str, Cohort], name: str | None) -> tuple[str, Case]:
    """The cohort and the case called ``name``; without a name the first training case with labels.

    A cohort that its publisher has registered comes first. Raises :class:`InputError` for an unknown name.
    """
    named = [(cohort, case) for cohort in cohorts for case in cohorts[cohort].cases]
    if name is not None:
        found = [(cohort, case) for cohort, case in named if full_name(cohort, case) == name]
        if not found:
            shown = ", ".join(full_name(*pair) for pair in named[:3])
            raise SettingError(f"There is no case {name} to be the reference; cases are called {shown} and so on.")
        return found[0]
    ordered = sorted(named, key=lambda pair: not cohorts[pair[0]].registered)
    labelled = [pair for pair in ordered if pair[1].split == "train" and pair[1].labels_path is not None]
    if not labelled:
        raise SettingError(
            "No case for training has labels, so none can be the reference by itself: give `reference`.",
            option="reference",
        )
    return labelled[0]


def make_frame(
    cohorts: dict[str, Cohort], output: Path, reference: str | None, spacing_mm: float, size: tuple[int, int, int]
) -> Frame:
    """Choose the frame and write it to ``output`` (``frame.json`` and the reference's volume).

    Raises :class:`InputError` if ``output`` holds cases of another frame, and for a spacing or size that no frame has.
    """
    if not 0 < spacing_mm <= _MAX_MM or not all(0 < voxels <= _MAX_VOXELS for voxels in size):
        raise SettingError(
            f"A frame of {size} voxels of {spacing_mm} mm cannot be: give up to {_MAX_VOXELS} voxels along each axis, of up to "
            f"{_MAX_MM:g} mm."
        )
    path = output / FRAME
    cohort, case = choose_reference(cohorts, reference)
    image = case.image()
    labels = None if case.labels_path is None else case.labels(image)
    grid = frame_grid(image.grid, labels, spacing_mm, size)
    places = {} if labels is None else centres(labels)
    registered = cohort if cohorts[cohort].registered else ""
    frame = Frame(full_name(cohort, case), registered, image.grid, grid, places)
    text = json.dumps(frame.to_dict(), indent=1) + "\n"
    if path.is_file() and path.read_bytes() != text.encode():
        raise RunError(f"{output} holds cases of another reference, spacing or size: give a new folder.")
    if not path.is_file():
        write_text(text, path)
    if not (output / REFERENCE).is_file():
        write_image(resample(image, grid, outside=AIR_HU), output / REFERENCE)
    return frame


def read_reference(output: Path) -> Image:
    """The reference's volume on the frame's grid."""
    return read_image(output / REFERENCE)


def frame_grid(scan: Grid, labels: Image | None, spacing_mm: float, size: tuple[int, int, int]) -> Grid:
    """The reference's own grid if it is as wanted, else one of that spacing and size around its labels or its middle."""
    aligned = Grid.axis_aligned((0, 0, 0), (1, 1, 1), spacing_mm, NETWORK_ORIENTATION)
    wanted = Grid(size, aligned.spacing, scan.origin, aligned.direction)
    if scan.is_close(wanted):
        return scan
    centre = scan.centre
    if labels is not None and labels.array.any():
        places = labels.grid.voxel_to_world(np.argwhere(labels.array))
        centre = (places.min(axis=0) + places.max(axis=0)) / 2
    x, y, z = (centre - (wanted.centre - np.array(wanted.origin))).round(3).tolist()
    return Grid(size, wanted.spacing, (x, y, z), wanted.direction)


def centres(labels: Image) -> dict[int, tuple[float, float, float]]:
    """Centre of mass of every label that is there, ``{label: (x, y, z)}`` in LPS millimetres."""
    found = {}
    for label in np.unique(labels.array[labels.array > 0]).tolist():
        x, y, z = labels.grid.voxel_to_world(np.argwhere(labels.array == label).mean(axis=0)).tolist()
        found[label] = (x, y, z)
    return found
