"""Whether two volumes are one scan, and a word where fixed and moving are, given twice by mistake."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mics.image.dicom import series_uid
from mics.image.grid import GRID_TOLERANCE_VOXELS
from mics.image.io import Image
from mics.image.lattice import with_axes_of
from mics.image.zipped import is_zip

_SHOWN_HU = -900
"""What is darker is air, which all scans have in common."""
_WITHIN_HU = 1.0
_SHARE = 0.99
_MAX_VOXELS = 2_000_000
"""Looked at: noise alone sets two scans of one patient apart by more."""


def is_same_scan(image: Image, other: Image) -> bool:
    """Whether two volumes in HU are one scan, as in two files of it: the same values at the same places.

    The axes may run otherwise, and values may be rounded, cut off or padded otherwise: of the voxels that show more than air,
    99 % are within one HU.
    """
    turned = with_axes_of(other, image.grid)
    if not turned.grid.is_close(image.grid, GRID_TOLERANCE_VOXELS * min(image.grid.spacing)):
        return False
    step = slice(None, None, max(1, round((image.array.size / _MAX_VOXELS) ** (1 / 3))))
    one, two = (volume.array[step, step, step].astype(np.float32) for volume in (image, turned))
    shown = np.maximum(one, two) > _SHOWN_HU
    return bool(shown.any() and (np.abs(one - two)[shown] <= _WITHIN_HU).mean() >= _SHARE)


def warn_of_same_scan(
    *, fixed: Image, moving: Image, sources: Sequence[Path | None], series: Sequence[str | None]
) -> None:
    """Warn, in one sentence, where both scans have the same voxels, but for rounding or axes, or come from one DICOM series.

    ``sources`` and ``series``: file or folder of the fixed and of the moving scan, None for an array, and the UIDs that were
    asked for.
    """
    if fixed.array.shape == moving.array.shape and np.array_equal(fixed.array, moving.array):
        where = "" if fixed.grid.is_close(moving.grid) else ", though their headers place them differently"
        _warn(f"The fixed and the moving scan are the same, voxel by voxel{where}")
    elif is_same_scan(fixed, moving):
        _warn("The fixed and the moving scan show the same, to a HU, though their files differ")
    elif _one_series(sources, series):
        _warn("The fixed and the moving scan are of the same DICOM series, by its UID, though their voxels differ")


def _one_series(sources: Sequence[Path | None], series: Sequence[str | None]) -> bool:
    """Whether both come from folders or zips of DICOM with one series UID."""
    uids = [
        series_uid(source, uid) if source is not None and (source.is_dir() or is_zip(source)) else None
        for source, uid in zip(sources, series, strict=True)
    ]
    return uids[0] is not None and uids[0] == uids[1]


def _warn(message: str) -> None:
    warnings.warn(f"{message}: was one of them given twice?", UserWarning, stacklevel=3)
