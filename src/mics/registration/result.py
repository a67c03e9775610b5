"""A finished registration: both scans, both transforms, both warped scans, and what is known about them."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.compact import Compact, compacted, on_own_lattice, refuse_tolerance
from mics.deformation.transform import Transform
from mics.files.folder import usable_folder, write_together
from mics.files.whole import write_text
from mics.image.blocks import by_planes
from mics.image.io import Image, write_image, write_labels
from mics.registration.lesions import lesions_csv
from mics.registration.pair import Pair
from mics.run_summary import RunSummary
from mics.summary_parts import VerdictSummary

_ROUNDING_MM = math.sqrt(3) / 512
"""Half of 1/256 mm along each axis, by which every file of a transform may be off."""


@dataclass(frozen=True, eq=False)
class Registration:
    """Two scans registered to each other, both ways; :func:`mics.register` makes it.

    ``moving_to_fixed`` lies on the fixed scan's grid and brings the moving image there (``moving_warped``);
    ``fixed_to_moving`` lies on the moving scan's grid and brings the fixed image there (``fixed_warped``). Both include
    ``affine`` (4, 4), which maps fixed to moving LPS points. Label maps are None where none was given. ``summary`` is
    plain data, fit for JSON; ``run_summary`` is the same, typed. ``deformation`` is what the transforms were composed of, on
    its own grid in the space half-way between the scans (:func:`mics.registration.half_way.half_way`) and without the affine;
    ``to_scans`` (4, 4) takes points of that space to those of either scan.
    It is equal to itself alone: even a repetition has taken other times.
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
    deformation: BidirectionalField | None = None
    to_scans: Pair[NDArray[np.float64]] | None = None

    def __repr__(self) -> str:
        return f"Registration(fixed {self.fixed.grid}; moving {self.moving.grid})"

    @cached_property
    def run_summary(self) -> RunSummary:
        """``summary``, typed, as it is when this is asked for first."""
        return RunSummary.model_validate(self.summary)

    @property
    def verdict(self) -> VerdictSummary:
        """The verdict: whether the registration worked, as far as it shows."""
        verdict = self.run_summary.verdict
        assert verdict is not None  # which only summaries of earlier versions lack
        return verdict

    def save(
        self,
        folder: str | Path,
        *,
        beside: Mapping[str, Callable[[Path], object]] | None = None,
        tolerance_mm: float | None = None,
    ) -> dict[str, Any]:
        """Write volumes, transforms and ``summary.json`` into a new or empty folder: all of them or none.

        Beside each transform lies ``<name>.json``, which says what it is for.

        Args:
            folder: A new or empty one.
            beside: Names of other files that belong to them, and what writes each, given its path; on another thread.
            tolerance_mm: The transforms may be off by so much at any voxel, which takes a fraction of the disk
                (:func:`mics.deformation.compact.compacted`); by default 1/256 mm along each axis. Those that were made free of
                folds are kept as they are: rounding might fold them.

        Returns:
            The summary that was written; of transforms stored within a tolerance it has ``stored_transforms``.

        Raises:
            InputError: If the folder is not empty or cannot be written.
        """
        if tolerance_mm is not None:
            refuse_tolerance(tolerance_mm)
        folder = usable_folder(folder)
        stored = self._compact(tolerance_mm)
        sizes: dict[str, int] = {}
        written = {name: Event() for name in stored}

        def save_transform(name: str, path: Path) -> None:
            try:
                stored[name].transform.save(path, closely=tolerance_mm is not None)
                sizes[name] = path.stat().st_size
            finally:
                written[name].set()

        def save_summary(path: Path) -> None:
            for done in written.values():
                done.wait()
            if tolerance_mm is not None:
                summary["stored_transforms"] = {name: _stored_within(stored[name], sizes.get(name)) for name in stored}
            write_text(_json(summary), path)

        summary = dict(self.summary)
        writers: dict[str, Callable[[Path], object]] = {
            # The longest first.
            **{f"transform_{name}.nii.gz": partial(save_transform, name) for name in stored},
            **(beside or {}),
            "moving_warped.nii.gz": lambda path: write_image(_stored_like(self.moving_warped, self.moving), path),
            "fixed_warped.nii.gz": lambda path: write_image(_stored_like(self.fixed_warped, self.fixed), path),
        }
        for name, labels in (("moving", self.moving_labels_warped), ("fixed", self.fixed_labels_warped)):
            if labels is not None:
                writers[f"{name}_labels_warped.nii.gz"] = partial(write_labels, labels)
        if self.summary.get("lesions") is not None:
            writers["lesions.csv"] = partial(write_text, lesions_csv(self.summary["lesions"]))
        # The last to be moved: where it is, everything is.
        writers["summary.json"] = save_summary
        write_together(folder, writers)
        return summary

    def _compact(self, tolerance_mm: float | None) -> dict[str, Compact]:
        """Both transforms by direction, in the form in which they are stored."""
        transforms = {"moving_to_fixed": self.moving_to_fixed, "fixed_to_moving": self.fixed_to_moving}
        if tolerance_mm is None or self.summary["topology"] is not None:
            return {name: Compact(transform, _ROUNDING_MM) for name, transform in transforms.items()}
        own = self._on_own_lattices()
        return {name: compacted(transform, tolerance_mm, own[name]) for name, transform in transforms.items()}

    def _on_own_lattices(self) -> dict[str, Transform | None]:
        """Both transforms by direction, on the grid that they were made on; None where that is no image's, or not known."""
        field, to = self.deformation, self.to_scans
        if field is None or to is None:
            return {"moving_to_fixed": None, "fixed_to_moving": None}
        return {
            "moving_to_fixed": on_own_lattice(field, self.fixed.grid, to_fixed=to.fixed, to_moving=to.moving),
            "fixed_to_moving": on_own_lattice(field.swap(), self.moving.grid, to_fixed=to.moving, to_moving=to.fixed),
        }


def _stored_within(compact: Compact, size: int | None) -> dict[str, Any]:
    grid = compact.transform.grid
    return {
        "size": list(grid.size),
        "spacing_mm": [round(mm, 6) for mm in grid.spacing],
        "bytes": size,
        "largest_error_mm": round(compact.largest_error_mm, 4),
    }


def _stored_like(warped: Image, original: Image) -> Image:
    """Whole numbers where the scan itself has whole numbers, as CT does: a quarter of the size, at most 0.5 HU away."""
    bounds = np.iinfo(np.int16)
    low, high = original.array.min(), original.array.max()
    if low < bounds.min or high > bounds.max:
        return warped
    if not all(np.array_equal(plane, np.rint(plane)) for (plane,) in by_planes(original.array)):
        return warped
    whole = np.empty_like(warped.array, dtype=np.int16)
    for plane, rounded in by_planes(warped.array, whole):
        rounded[...] = np.rint(plane)
    return Image(whole, warped.grid)


def _json(summary: dict[str, Any]) -> str:
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"
