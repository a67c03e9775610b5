"""A finished registration: both scans, both transforms, both warped scans, and what is known about them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.deformation.transform import Transform
from mics.files.folder import usable_folder, write_together
from mics.files.whole import write_text
from mics.image.io import Image, write_image, write_labels
from mics.registration.lesions import lesions_csv


@dataclass(frozen=True, eq=False)
class Registration:
    """Two scans registered to each other, both ways.

    ``moving_to_fixed`` lies on the fixed scan's grid and brings the moving image there (``moving_warped``);
    ``fixed_to_moving`` lies on the moving scan's grid and brings the fixed image there (``fixed_warped``). Both include
    ``affine`` (4, 4), which maps fixed to moving LPS points. Label maps are None where none was given. ``summary`` is
    plain data, fit for JSON. It is equal to itself alone: even a repetition has taken other times.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image | None
    moving_labels: Image | None
    affine: NDArray[np.float64]
    moving_to_fixed: Transform
    fixed_to_moving: Transform
    moving_warped: Image
    fixed_warped: Image
    moving_labels_warped: Image | None
    fixed_labels_warped: Image | None
    summary: dict[str, Any]

    def __repr__(self) -> str:
        return f"Registration(fixed {self.fixed.grid}; moving {self.moving.grid})"

    def save(self, folder: str | Path, *, beside: Mapping[str, Callable[[Path], object]] | None = None) -> None:
        """Write volumes, transforms and ``summary.json`` into a new or empty folder: all of them or none.

        Beside each transform lies ``<name>.json``, which says what it is for.

        ``beside``: names of other files that belong to them, and what writes each, given its path; on another thread.

        Raises InputError if the folder is not empty or cannot be written.
        """
        folder = usable_folder(folder)
        writers: dict[str, Callable[[Path], object]] = {
            **(beside or {}),
            "moving_warped.nii.gz": lambda path: write_image(_stored_like(self.moving_warped, self.moving), path),
            "fixed_warped.nii.gz": lambda path: write_image(_stored_like(self.fixed_warped, self.fixed), path),
            "transform_moving_to_fixed.nii.gz": self.moving_to_fixed.save,
            "transform_fixed_to_moving.nii.gz": self.fixed_to_moving.save,
        }
        for name, labels in (("moving", self.moving_labels_warped), ("fixed", self.fixed_labels_warped)):
            if labels is not None:
                writers[f"{name}_labels_warped.nii.gz"] = partial(write_labels, labels)
        if self.summary.get("lesions") is not None:
            writers["lesions.csv"] = partial(write_text, lesions_csv(self.summary["lesions"]))
        # The last to be moved: where it is, everything is.
        writers["summary.json"] = partial(write_text, _json(self.summary))
        write_together(folder, writers)


def _stored_like(warped: Image, original: Image) -> Image:
    """Whole numbers where the scan itself has whole numbers, as CT does: a quarter of the size, at most 0.5 HU away."""
    bounds = np.iinfo(np.int16)
    values = original.array
    whole = values.min() >= bounds.min and values.max() <= bounds.max and np.array_equal(values, np.rint(values))
    return Image(np.rint(warped.array).astype(np.int16), warped.grid) if whole else warped


def _json(summary: dict[str, Any]) -> str:
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"
