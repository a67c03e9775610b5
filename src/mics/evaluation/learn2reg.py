"""The Learn2Reg challenge's displacement files, and its scoring of one pair.

A file holds ``(X, Y, Z, 3)`` in voxels, array order: voxel ``x`` of the fixed volume is filled from ``x + d(x)`` of the
moving one. Its header carries no geometry. Here such a displacement is ``(3, X, Y, Z)``, channels first as everywhere.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from scipy import ndimage

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.metrics import Labels, dice, hd95, sd_log_jacobian
from mics.image.grid import Grid
from mics.image.io import Image, write_whole


def displacement_name(fixed: str, moving: str, *, script: Literal["current", "2020"] = "current") -> str:
    """File name of the pair of case numbers ("0027", "0033") that today's or the 2020 evaluation script looks for."""
    modality = "_0000" if script == "current" else ""
    return f"disp_{fixed}{modality}_{moving}{modality}.nii.gz"


def write_displacement(displacement_voxels: NDArray[np.floating], path: str | Path) -> None:
    """Write ``(3, X, Y, Z)`` as the challenge wants it: ``(X, Y, Z, 3)`` float32 NIfTI with an identity header."""
    image = nibabel.nifti1.Nifti1Image(np.moveaxis(displacement_voxels, 0, -1).astype(np.float32), np.eye(4))
    write_whole(path, lambda temporary: nibabel.loadsave.save(image, temporary))


def read_displacement(path: str | Path) -> NDArray[np.float32]:
    """Read a challenge file into ``(3, X, Y, Z)`` float32, voxels. Raises :class:`InputError` for anything else."""
    try:
        values = np.asarray(nibabel.loadsave.load(path).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError) as error:
        raise InputError(f"{path} cannot be read as a NIfTI file ({error}); give a Learn2Reg displacement.") from error
    if values.ndim != 4 or values.shape[3] != 3:
        raise InputError(f"{path} has shape {_text(values.shape)}; a Learn2Reg displacement has XxYxZx3.")
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds displacements that are not finite; write it again.")
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def from_transform(transform: Transform, moving_grid: Grid) -> NDArray[np.float32]:
    """Displacement ``(3, X, Y, Z)`` in voxels of a transform that fills its grid from the volume on ``moving_grid``."""
    fixed_voxels = np.moveaxis(np.indices(transform.grid.size, dtype=np.float32), 0, -1)
    sources = transform.grid.points() + transform.displacement_mm
    return np.moveaxis(moving_grid.world_to_voxel(sources) - fixed_voxels, -1, 0).astype(np.float32)


def to_transform(displacement_voxels: NDArray[np.floating], fixed_grid: Grid, moving_grid: Grid) -> Transform:
    """The same displacement in mm: inverse of :func:`from_transform`."""
    fixed_voxels = np.indices(fixed_grid.size, dtype=np.float32)
    sources = moving_grid.voxel_to_world(np.moveaxis(fixed_voxels + displacement_voxels, 0, -1))
    return Transform((sources - fixed_grid.points()).astype(np.float32), fixed_grid)


def warp_labels(labels: Labels, displacement_voxels: NDArray[np.floating]) -> Labels:
    """Labels filled from ``x + d(x)`` by nearest neighbour; background beyond the volume."""
    places = displacement_voxels + np.indices(displacement_voxels.shape[1:], dtype=np.float32)
    warped: Labels = ndimage.map_coordinates(labels, places, order=0, mode="constant", cval=0)
    return warped


@dataclass(frozen=True)
class Score:
    """Scores of one pair: overlap and distance by label, and the regularity of the field."""

    dice: dict[int, float]
    hd95_voxels: dict[int, float]
    hd95_mm: dict[int, float]
    sd_log_jacobian: float

    @property
    def mean_dice(self) -> float:
        """Mean over the labels scored."""
        return float(np.mean(list(self.dice.values())))

    @property
    def mean_hd95_voxels(self) -> float:
        """Mean over the labels scored; infinite if one of them was lost."""
        return float(np.mean(list(self.hd95_voxels.values())))


def score(
    fixed_labels: Image, moving_labels: Image, displacement_voxels: NDArray[np.floating], labels: Iterable[int]
) -> Score:
    """Score one pair, its displacement ``(3, X, Y, Z)``, as the challenge's script does, with Hd95 in mm beside it.

    Labels that either volume lacks are skipped; one that the warp pushes out of view counts as Dice 0 and an infinite
    distance.
    """
    fixed, moving = fixed_labels.array, moving_labels.array
    if displacement_voxels.shape[1:] != fixed.shape:
        raise InputError(
            f"The displacement covers {_text(displacement_voxels.shape[1:])} voxels, the fixed labels "
            f"{_text(fixed.shape)}; give those of one pair."
        )
    labels = list(labels)
    warped = warp_labels(moving, displacement_voxels)
    return Score(
        dice=dice(fixed, warped, labels, moving_labels=moving),
        hd95_voxels=hd95(fixed, warped, labels, moving_labels=moving),
        hd95_mm=hd95(fixed, warped, labels, fixed_labels.grid.spacing, moving_labels=moving),
        sd_log_jacobian=sd_log_jacobian(displacement_voxels),
    )


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
