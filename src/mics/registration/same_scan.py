"""Whether fixed and moving are one scan, given twice by mistake."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mics.image.dicom import series_uid
from mics.image.io import Image
from mics.image.zipped import is_zip


def warn_of_same_scan(
    *, fixed: Image, moving: Image, sources: Sequence[Path | None], series: Sequence[str | None]
) -> None:
    """Warn, in one sentence, where both scans have the same voxels or come from the same DICOM series.

    ``sources`` and ``series``: file or folder of the fixed and of the moving scan, None for an array, and the UIDs that were
    asked for.
    """
    if fixed.array.shape == moving.array.shape and np.array_equal(fixed.array, moving.array):
        where = "" if fixed.grid.is_close(moving.grid) else ", though their headers place them differently"
        _warn(f"The fixed and the moving scan are the same, voxel by voxel{where}")
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
