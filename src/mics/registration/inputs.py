"""The two scans and their label maps, read and checked before anything long begins."""

import dataclasses
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mics.errors import InputError
from mics.image.io import Image, read_image, read_labels

Source = str | Path | Image

# Headers of label maps often differ from their scan's in the last digits; a tenth of a voxel changes no label.
_GRID_TOLERANCE_VOXELS = 0.1
_LISTENING = threading.Lock()


@dataclass(frozen=True)
class Scan:
    """A scan, float32 HU, and on the same grid, if given, its label map and a mask of what is not compared.

    Paths are None for arrays.
    """

    image: Image
    labels: Image | None
    exclude: Image | None
    path: str | None
    labels_path: str | None
    exclude_path: str | None


def load_scan(source: Source, labels: Source | None, role: str, *, exclude: Source | None = None) -> Scan:
    """Read and check a scan, its label map and its mask; ``role``, fixed or moving, names arrays in messages.

    Raises InputError for everything that :func:`mics.image.io.read_image` refuses, for arrays with the same faults, and
    for a label map or mask that is on another grid or not of integers.
    """
    name, labels_name = _name(source, f"The {role} scan"), _name(labels, f"The {role} label map")
    exclude_name = _name(exclude, f"The {role} mask of what to leave out")
    image = _checked(source, name) if isinstance(source, Image) else read_image(source)
    label_map = None if labels is None else _labels(labels, labels_name, image, name)
    mask = None if exclude is None else _labels(exclude, exclude_name, image, name)
    return Scan(image, label_map, mask, _path(source), _path(labels), _path(exclude))


def load_pair(
    fixed: Source,
    moving: Source,
    fixed_labels: Source | None,
    moving_labels: Source | None,
    *,
    fixed_exclude: Source | None = None,
    moving_exclude: Source | None = None,
) -> tuple[Scan, Scan, list[str]]:
    """Both scans, and the sentences of what was warned about on the way (which are warned about all the same)."""
    # All threads share the state of `warnings`: one at a time may listen, and only to itself.
    caught: list[tuple[threading.Thread, warnings.WarningMessage]] = []
    with _LISTENING:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda *about: caught.append(
                (threading.current_thread(), warnings.WarningMessage(*about))
            )
            target = load_scan(fixed, fixed_labels, "fixed", exclude=fixed_exclude)
            source = load_scan(moving, moving_labels, "moving", exclude=moving_exclude)
        for _, warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    own = [warning for thread, warning in caught if thread is threading.current_thread()]
    return target, source, [str(warning.message) for warning in own if issubclass(warning.category, UserWarning)]


def _checked(image: Image, name: str) -> Image:
    array = image.array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinite voxels: replace them, by -1000 HU where it is empty.")
    if array.min() == array.max():
        raise InputError(f"{name} is constant, so there is nothing to register.")
    return Image(array, image.grid)


def _labels(source: Source, name: str, image: Image, image_name: str) -> Image:
    labels = source if isinstance(source, Image) else read_labels(source)
    if not np.issubdtype(labels.array.dtype, np.integer):
        raise InputError(f"{name} is not a label map: it is not of an integer type.")
    if not labels.grid.is_close(image.grid, _GRID_TOLERANCE_VOXELS * min(image.grid.spacing)):
        raise InputError(
            f"{name} is on another grid than {image_name} ({labels.grid.size} against {image.grid.size} voxels, or "
            "another spacing, place or orientation): resample it onto the scan with nearest neighbour."
        )
    return dataclasses.replace(labels, grid=image.grid)


def _name(source: Source | None, otherwise: str) -> str:
    return otherwise if source is None or isinstance(source, Image) else str(source)


def _path(source: Source | None) -> str | None:
    return None if source is None or isinstance(source, Image) else str(source)
