"""A finished registration: both scans, both transforms, both warped scans, and what is known about them."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.io import Image, write_image


@dataclass(frozen=True)
class Registration:
    """Two scans registered to each other, both ways.

    ``moving_to_fixed`` lies on the fixed scan's grid and brings the moving image there (``moving_warped``);
    ``fixed_to_moving`` lies on the moving scan's grid and brings the fixed image there (``fixed_warped``). Both include
    ``affine`` (4, 4), which maps fixed to moving LPS points. Label maps are None where none was given. ``summary`` is
    plain data, fit for JSON.
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

    def save(self, folder: str | Path) -> None:
        """Write volumes, transforms and ``summary.json`` into a new or empty folder: all of them or none.

        Raises InputError if the folder is not empty or cannot be written.
        """
        folder = usable_folder(folder)
        writers: dict[str, Callable[[Path], object]] = {
            "moving_warped.nii.gz": lambda path: write_image(_stored_like(self.moving_warped, self.moving), path),
            "fixed_warped.nii.gz": lambda path: write_image(_stored_like(self.fixed_warped, self.fixed), path),
            "transform_moving_to_fixed.nii.gz": self.moving_to_fixed.save,
            "transform_fixed_to_moving.nii.gz": self.fixed_to_moving.save,
        }
        for name, labels in (("moving", self.moving_labels_warped), ("fixed", self.fixed_labels_warped)):
            if labels is not None:
                writers[f"{name}_labels_warped.nii.gz"] = partial(write_image, labels)
        # The last to be written and to be moved: where it is, everything is.
        writers["summary.json"] = lambda path: path.write_text(_json(self.summary), encoding="utf-8")
        _write_together(folder, writers)


def usable_folder(folder: str | Path) -> Path:
    """The folder, made if need be; raises InputError if it is not empty or cannot be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        entries = any(folder.iterdir())
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be written ({error.strerror}); choose another.") from error
    if entries:
        raise InputError(f"The output folder {folder} is not empty; choose a new one, so that nothing is overwritten.")
    return folder


def _write_together(folder: Path, writers: dict[str, Callable[[Path], object]]) -> None:
    """Write all files into a folder within ``folder``, then move them up one by one, in their order."""
    # Within, not beside: the folder may be a mount point, whose neighbours are elsewhere or not writable.
    unfinished = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        for name, write in writers.items():
            write(unfinished / name)
        for name in writers:
            os.replace(unfinished / name, folder / name)
    except OSError as error:
        for name in writers:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise InputError(f"The results cannot be written to {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _stored_like(warped: Image, original: Image) -> Image:
    """Whole numbers where the scan itself has whole numbers, as CT does: a quarter of the size, at most 0.5 HU away."""
    bounds = np.iinfo(np.int16)
    values = original.array
    whole = values.min() >= bounds.min and values.max() <= bounds.max and np.array_equal(values, np.rint(values))
    return Image(np.rint(warped.array).astype(np.int16), warped.grid) if whole else warped


def _json(summary: dict[str, Any]) -> str:
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"
