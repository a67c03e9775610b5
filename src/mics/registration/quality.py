"""How good a registration is, as far as its own output shows."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.jacobian import fold_share
from mics.deformation.transform import Transform
from mics.evaluation.consistency import inverse_consistency_mm
from mics.evaluation.landmarks import outside_messages, registration_errors
from mics.evaluation.metrics import dice, surface_agreement
from mics.evaluation.numbering import numbering_warning
from mics.image.grid import apply_matrix
from mics.image.io import Image
from mics.image.points import Points
from mics.image.resample import resample
from mics.registration.result import Registration

# The network's voxels are larger, and within them a displacement is linear: to look at every voxel of a native volume
# would take a minute and tell nothing more.
_FOLDS_MM = 2.0
_CONSISTENCY_MM = 4.0
_MANY = 1 << 16  # labels


def measure(
    result: Registration, field: BidirectionalField, meaning: Mapping[int, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Folds, Jacobian range, inverse consistency and, where both scans have labels, how well organs agree; in both directions.

    The delivered transforms are looked at in every n-th voxel, so that samples are up to 2 mm apart for the Jacobian and up to
    4 mm for the inverse consistency, or in every voxel where the scan's own are larger.
    ``field``: the deformation on the network's grid.
    ``meaning``: what the labels mean, as far as it is known.
    """
    forward, backward = result.moving_to_fixed, result.fixed_to_moving
    names, directions = ("moving_to_fixed", "fixed_to_moving"), ((forward, backward), (backward, forward))
    volumes = [_subsampled(transform, _FOLDS_MM).volume_change() for transform, _ in directions]
    ranges = [{"min": _finite(volume.least), "max": _finite(volume.largest)} for volume in volumes]
    shares = [volume.fold_share for volume in volumes]
    errors = [inverse_consistency(forward=own, backward=other) for own, other in directions]
    on_network_grid = {f"network_grid_{name}": fold_share(getattr(field, name)) for name in names}
    return {
        "folds": {**dict(zip(names, shares, strict=True)), **on_network_grid},
        "jacobian": dict(zip(names, ranges, strict=True)),
        "inverse_consistency_mm": dict(zip(names, errors, strict=True)),
        "labels": _both_label_scores(result),
        "label_names": _shown_names(result, meaning),
    }


def inverse_consistency(*, forward: Transform, backward: Transform) -> dict[str, float | None]:
    """Mean and maximum distance in mm by which points of ``forward.grid`` are missed by ``forward`` and then ``backward``.

    None where no point comes to lie in the other scan's field of view.
    """
    mean, largest = inverse_consistency_mm(_subsampled(forward, _CONSISTENCY_MM), backward)
    return {"mean": _finite(mean), "max": _finite(largest)}


def label_scores(*, target: Image, warped: Image, affine_only: Image, source: Image) -> dict[str, Any]:
    """Dice, HD95 and mean distance to agreement (MDA), in mm, of every label in both ``target`` and ``source``, before and after.

    Before is with the affine alone; ``worst_label`` has the smallest Dice after registration. ``warped`` and ``affine_only``
    are ``source`` on the target's grid; all are integer label maps. A label that was
    pushed out of view has Dice 0 and distances None.
    """
    labels = sorted(_labels(target) & _labels(source))
    box = _box([target, warped, affine_only])
    fixed, moved, start = (image.array[box] for image in (target, warped, affine_only))
    after, before = (_agreement(fixed, array, labels, target.grid.spacing) for array in (moved, start))
    return {
        **after,
        **{f"{measure}_affine_only": values for measure, values in before.items()},
        "worst_label": min(after["dice"], key=after["dice"].get, default=None),
    }


def _agreement(
    fixed: NDArray[np.integer], warped: NDArray[np.integer], labels: Sequence[int], spacing: Sequence[float]
) -> dict[str, Any]:
    """Dice, HD95 and MDA by label, and the mean Dice."""
    present = np.array(labels, dtype=np.uint64)  # which holds every label above 0
    scores = dice(fixed, warped, labels, moving_labels=present)
    surfaces = surface_agreement(fixed, warped, labels, spacing, moving_labels=present)
    return {
        "dice": {str(label): round(value, 4) for label, value in scores.items()},
        "hd95_mm": {str(label): _finite(surface.hd95) for label, surface in surfaces.items()},
        "mda_mm": {str(label): _finite(surface.mda) for label, surface in surfaces.items()},
        "mean_dice": _mean(scores),
    }


def landmark_scores(result: Registration, landmarks: tuple[Points, Points] | None) -> dict[str, Any] | None:
    """Target registration error (TRE) of the fixed landmarks, taken to the moving scan, in mm, before and after.

    Before is with the affine alone. None without landmarks.
    """
    if landmarks is None:
        return None
    fixed, moving = landmarks
    after = registration_errors(result.moving_to_fixed.transform_points(fixed.coordinates), moving)
    before = registration_errors(apply_matrix(result.affine, fixed.coordinates), moving)
    return {"count": len(after), "tre_mm": _mean_and_max(after), "tre_mm_affine_only": _mean_and_max(before)}


def landmark_warnings(result: Registration, landmarks: tuple[Points, Points] | None) -> list[str]:
    """A sentence for each scan beyond which some of its landmarks lie."""
    return outside_messages(landmarks, fixed=result.fixed.grid, moving=result.moving.grid)


def label_warnings(result: Registration) -> list[str]:
    """What looks wrong with the label maps once they lie upon each other, a sentence each."""
    if result.fixed_labels is None or result.moving_labels_warped is None:
        return []
    return numbering_warning(result.fixed_labels.array, result.moving_labels_warped.array)


def _both_label_scores(result: Registration) -> dict[str, Any] | None:
    fixed, moving = result.fixed_labels, result.moving_labels
    fixed_warped, moving_warped = result.fixed_labels_warped, result.moving_labels_warped
    if fixed is None or moving is None or fixed_warped is None or moving_warped is None:
        return None
    affine_only = resample(moving, fixed.grid, result.affine, nearest=True, outside=0)
    back_affine_only = resample(fixed, moving.grid, np.linalg.inv(result.affine), nearest=True, outside=0)
    return {
        "moving_to_fixed": label_scores(target=fixed, warped=moving_warped, affine_only=affine_only, source=moving),
        "fixed_to_moving": label_scores(target=moving, warped=fixed_warped, affine_only=back_affine_only, source=fixed),
    }


def _shown_names(result: Registration, names: Mapping[int, str]) -> dict[str, str]:
    """The names of the labels that either scan shows."""
    maps = [labels for labels in (result.fixed_labels, result.moving_labels) if labels is not None]
    shown = {label for labels in maps for label in _labels(labels)} if names else set()
    return {str(label): names[label] for label in sorted(shown & names.keys())}


def _subsampled(transform: Transform, apart_mm: float) -> Transform:
    """The transform at every n-th voxel, at most ``apart_mm`` apart or all: no value changes."""
    return transform.subsampled([max(1, int(apart_mm / spacing)) for spacing in transform.grid.spacing])


def _labels(image: Image) -> set[int]:
    """The labels above the background."""
    if image.array.max() > _MANY:  # an atlas' ids: find_objects makes a list as long as the largest
        return {int(label) for label in np.unique(image.array[image.array > 0])}
    # Through a native volume ten times as fast as sorting its values.
    array = image.array.astype(image.array.dtype.newbyteorder("="), copy=False)
    return {label for label, place in enumerate(ndimage.find_objects(array), start=1) if place is not None}


def _box(images: Sequence[Image]) -> tuple[slice, ...]:
    """Where any of the maps shows a label, and a voxel around it; all of the grid where none does."""
    shown: NDArray[np.bool_] = np.zeros(images[0].grid.size, dtype=np.bool_)
    for image in images:
        shown |= image.array > 0
    found = ndimage.find_objects(shown.view(np.uint8))
    if not found:
        return (slice(None),) * 3
    return tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in found[0])


def _mean(scores: dict[int, float]) -> float | None:
    return round(float(np.mean(list(scores.values()))), 4) if scores else None


def _mean_and_max(errors: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": round(float(errors.mean()), 4), "max": round(float(errors.max()), 4)}


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return round(value, 4) if np.isfinite(value) else None
