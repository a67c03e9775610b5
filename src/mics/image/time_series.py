"""Volumes of one grid over time, as a 4-D NIfTI file holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mics.image import checks, nifti
from mics.image.io import Image, grid_of, to_itk, write_itk


@dataclass(frozen=True)
class TimeSeries:
    """``volumes`` on one grid, and the ``step`` between them in seconds."""

    volumes: Sequence[Image]
    step: float


def is_time_series(path: str | Path) -> bool:
    """Whether a file is NIfTI and holds several volumes over time; raises InputError for a NIfTI file that is unreadable."""
    path = Path(path)
    return path.is_file() and path.name.lower().endswith((".nii", ".nii.gz")) and nifti.time_step(path) is not None


def read_time_series(path: str | Path) -> TimeSeries:
    """The volumes of a 4-D NIfTI file, each of the file's type of values, or float32 where that is scaled.

    Raises InputError as :func:`mics.image.nifti.read_nifti` does, and for values that are no number.
    """
    path = Path(path)
    itk = nifti.read_nifti(path, None)
    values = sitk.GetArrayFromImage(itk)  # (Z, Y, X, time)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise checks.not_finite(path, bad)
    grid = grid_of(itk)
    volumes = [Image(values[..., time].transpose(2, 1, 0), grid) for time in range(values.shape[-1])]
    return TimeSeries(volumes, nifti.time_step(path) or 1.0)


def write_time_series(series: TimeSeries, path: str | Path) -> None:
    """Write a 4-D volume as :func:`mics.image.io.write_image` writes a 3-D one."""
    write_itk(sitk.JoinSeries([to_itk(volume) for volume in series.volumes], 0.0, series.step), path)
