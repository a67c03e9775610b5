"""Measures of a registration, as the Learn2Reg challenge defines them.

Label maps are integer ``(X, Y, Z)``. A displacement is ``(3, X, Y, Z)`` in voxels along the array's axes and pulls.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mics.deformation.jacobian import jacobian_determinant
from mics.errors import GeometryError, SettingError
from mics.evaluation.surface import surface_distances
from mics.threads import side_by_side

Labels = NDArray[np.integer]

# Planes worked on at a time: the nine derivatives of a clinical scan's field at once would take gigabytes.
_SLAB = 32
_MIN_EXTENT = 5
"""Voxels along an axis of which one is left without two at each border."""
_MANY = 1 << 16  # an atlas' ids: one pass over all labels makes a list as long as the largest


def dice(
    fixed_labels: Labels, warped_labels: Labels, labels: Iterable[int], *, moving_labels: Labels | None = None
) -> dict[int, float]:
    """Dice overlap of each label, ``2|F∩W| / (|F|+|W|)``.

    Args:
        fixed_labels: ``(X, Y, Z)`` integers.
        warped_labels: The moving label map on the same grid, likewise.
        labels: Those to score, above 0.
        moving_labels: The map before warping, of any shape: given it, a label that the deformation has pushed out of view scores
            0, as in the Learn2Reg script; without it that label is taken for absent.

    Returns:
        By label, 0 to 1. A label that the fixed or the moving volume does not show has no entry.

    Raises:
        InputError: For maps of two shapes, and for a label that is not above 0.

    Example:
        >>> fixed, warped = np.array([[[1, 1, 2]]]), np.array([[[1, 0, 2]]])
        >>> {label: round(float(score), 3) for label, score in dice(fixed, warped, [1, 2, 3]).items()}
        {1: 0.667, 2: 1.0}
    """
    scores: dict[int, float] = {}
    for label, fixed, warped in _masks(fixed_labels, warped_labels, labels, moving_labels):
        common, total = np.count_nonzero(fixed & warped), np.count_nonzero(fixed) + np.count_nonzero(warped)
        scores[label] = 2 * common / total
    return scores


@dataclass(frozen=True)
class SurfaceAgreement:
    """Agreement of the surfaces of a label: 95 % Hausdorff distance and mean distance to agreement; infinite for a lost one."""

    hd95: float
    mda: float


def surface_agreement(
    fixed_labels: Labels,
    warped_labels: Labels,
    labels: Iterable[int],
    spacing: Sequence[float] = (1, 1, 1),
    *,
    moving_labels: Labels | None = None,
) -> dict[int, SurfaceAgreement]:
    """HD95 and mean distance to agreement of each label, weighted by surface area (:mod:`mics.evaluation.surface`).

    Args:
        fixed_labels: ``(X, Y, Z)`` integers.
        warped_labels: The moving label map on the same grid, likewise.
        labels: Those to measure, above 0.
        spacing: Voxel edges along the array axes; 1 gives Learn2Reg's HD95, in voxels.
        moving_labels: The map before warping, of any shape: given it, a label that the deformation has pushed out of view is
            infinitely far; without it that label is taken for absent.

    Returns:
        By label, in units of ``spacing``. A label that the fixed or the moving volume does not show has no entry.

    Raises:
        InputError: For maps of two shapes, and for a label that is not above 0.
    """

    def measured(found: tuple[int, NDArray[np.bool_], NDArray[np.bool_]]) -> tuple[int, SurfaceAgreement]:
        label, fixed, warped = found
        distances = surface_distances(fixed, warped, spacing)
        if distances is None:
            return label, SurfaceAgreement(np.inf, np.inf)
        return label, SurfaceAgreement(distances.hausdorff(95), distances.mean())

    return dict(side_by_side(measured, _masks(fixed_labels, warped_labels, labels, moving_labels)))


def sd_log_jacobian(displacement_voxels: NDArray[np.floating]) -> float:
    """Learn2Reg's SdLogJ: standard deviation of ``log(clip(|J| + 3, 1e-9, 1e9))``.

    |J| by central differences; two voxels are cropped at each border, so that how a border is padded does not matter.
    The offset is that of today's script; the one of 2020 had another, so figures of different years do not compare.

    Args:
        displacement_voxels: ``(3, X, Y, Z)`` in voxels, of at least five voxels along each axis.

    Returns:
        Without unit; 0 where volume changes by the same factor everywhere.

    Raises:
        InputError: For fewer voxels.
    """
    if min(displacement_voxels.shape[1:]) < _MIN_EXTENT:
        shape = " x ".join(map(str, displacement_voxels.shape[1:]))
        raise GeometryError(f"SdLogJ leaves out two voxels at each border, which leaves none of {shape}.")
    length, logs = displacement_voxels.shape[1], []
    for start in range(2, length - 2, _SLAB):
        stop = min(start + _SLAB, length - 2)
        slab = torch.from_numpy(np.ascontiguousarray(displacement_voxels[:, start - 1 : stop + 1]))[None]
        determinant = jacobian_determinant(slab)[0, 1:-1, 2:-2, 2:-2].double()
        logs.append(torch.log(torch.clamp(determinant + 3, 1e-9, 1e9)).flatten())
    return float(torch.cat(logs).std(correction=0))


def _masks(
    fixed_labels: Labels, warped_labels: Labels, labels: Iterable[int], moving_labels: Labels | None
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Of the labels that fixed and moving volume show: where the fixed and the warped one do, in the box around both."""
    wanted = list(labels)
    if fixed_labels.shape != warped_labels.shape:
        raise GeometryError(
            f"Label maps on one grid are compared, not of the shapes {fixed_labels.shape} and {warped_labels.shape}."
        )
    if min(wanted, default=1) <= 0:
        raise SettingError(f"Labels are numbers above 0, which is the background, not {min(wanted)}.")
    fixed_boxes, warped_boxes = _boxes(fixed_labels, wanted), _boxes(warped_labels, wanted)
    moving_boxes = warped_boxes if moving_labels is None else _boxes(moving_labels, wanted)
    for label in wanted:
        if label in fixed_boxes and label in moving_boxes:
            boxes = [found[label] for found in (fixed_boxes, warped_boxes) if label in found]
            box = tuple(
                slice(min(part.start for part in parts), max(part.stop for part in parts))
                for parts in zip(*boxes, strict=True)
            )
            yield label, fixed_labels[box] == label, warped_labels[box] == label


def _boxes(volume: Labels, labels: Sequence[int]) -> dict[int, tuple[slice, ...]]:
    """Bounding boxes of those of ``labels``, above 0, that a volume shows: all of them in one pass over it."""
    if max(labels, default=0) > _MANY:
        single = {label: ndimage.find_objects((volume == label).view(np.uint8)) for label in labels}
        return {label: boxes[0] for label, boxes in single.items() if boxes}
    native = volume.astype(volume.dtype.newbyteorder("="), copy=False)
    found = ndimage.find_objects(native, max_label=max(labels)) if labels else []
    return {label: found[label - 1] for label in labels if found[label - 1] is not None}
