"""Lesions followed from one scan of a patient to the next: how much they grew, and what of it the deformation hides."""

import csv
import io
from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage

from mics.deformation.jacobian import jacobian_determinant
from mics.deformation.slabs import apply_linear
from mics.deformation.transform import Transform
from mics.image.io import Image
from mics.registration.inputs import Scan
from mics.registration.pair import Pair

COLUMNS = {
    "moving_ml": "volume in the moving scan, ml",
    "fixed_ml": "volume in the fixed scan, ml",
    "change_ml": "change from moving to fixed, ml",
    "change_percent": "change from moving to fixed, %",
    "jacobian": "mean Jacobian inside the moving lesion: how many times its volume it has once it is brought to the fixed scan",
    "growth": "fixed volume over moving volume",
    "growth_not_absorbed": "fixed volume over that of the moving lesion once it is brought there",
}
"""What a row holds of a lesion, and what it means."""


def lesion_table(scans: Pair[Scan], fixed_to_moving: Transform) -> dict[str, dict[str, float | None]] | None:
    """The numbers of :data:`COLUMNS` by lesion id; None without lesion maps.

    A lesion that one map lacks has the volume 0 there: it is new, or it is gone. What cannot be said is None: all but the
    volume of one scan (and the Jacobian of a moving lesion) where the other has no map, and growth and Jacobian of a new lesion.
    """
    moving, fixed = scans.moving.lesions, scans.fixed.lesions
    if moving is None and fixed is None:
        return None
    before, after = _volumes(moving), _volumes(fixed)
    return {
        str(label): _row(
            moving_ml=before.get(label, 0.0) if moving is not None else None,
            fixed_ml=after.get(label, 0.0) if fixed is not None else None,
            jacobian=None if moving is None or label not in before else _mean_jacobian(moving, label, fixed_to_moving),
        )
        for label in sorted(before.keys() | after.keys())
    }


def other_numbers(scans: Pair[Scan], moving_to_fixed: Transform) -> list[str]:
    """A sentence for each lesion that only one map has and that lies on one that only the other has: perhaps the same."""
    moving, fixed = scans.moving.lesions, scans.fixed.lesions
    if moving is None or fixed is None:
        return []
    before, after = _volumes(moving).keys(), _volumes(fixed).keys()
    gone, new = before - after, after - before
    if not gone or not new:
        return []
    warped = moving_to_fixed.transform_labels(moving).array
    lying = np.unique(
        np.stack([warped.ravel(), fixed.array.ravel()])[:, ((warped > 0) & (fixed.array > 0)).ravel()], axis=1
    )
    return [
        f"Lesion {one} of the moving scan lies on lesion {two} of the fixed scan, and neither is in the other map: if it is one "
        "lesion, give it one number in both."
        for one, two in lying.T.tolist()
        if one in gone and two in new
    ]


def lesions_csv(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """The table as CSV; what cannot be said is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["lesion", *COLUMNS])
    writer.writerows(
        [label, *("" if row[name] is None else row[name] for name in COLUMNS)] for label, row in rows.items()
    )
    return text.getvalue()


def _row(*, moving_ml: float | None, fixed_ml: float | None, jacobian: float | None) -> dict[str, float | None]:
    change = percent = growth = left = None
    if moving_ml is not None and fixed_ml is not None:
        change = fixed_ml - moving_ml
        if moving_ml:
            growth, percent = fixed_ml / moving_ml, 100 * change / moving_ml
            left = growth / jacobian if jacobian else None
    values = (moving_ml, fixed_ml, change, percent, jacobian, growth, left)
    return {name: None if value is None else round(value, 4) for name, value in zip(COLUMNS, values, strict=True)}


def _volumes(lesions: Image | None) -> dict[int, float]:
    """Of each lesion, in ml."""
    if lesions is None:
        return {}
    labels, counts = np.unique(lesions.array, return_counts=True)
    voxel = float(np.prod(lesions.grid.spacing)) / 1000
    return {int(label): count * voxel for label, count in zip(labels, counts, strict=True) if label > 0}


def _mean_jacobian(lesions: Image, label: int, transform: Transform) -> float:
    """Mean determinant over a lesion of the map from its scan to the other one, on the lesion's grid."""
    (box,) = ndimage.find_objects((lesions.array == label).view(np.uint8))
    wide = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    own = lesions.array[wide] == label
    displacement = np.moveaxis(transform.part(wide), -1, 0)
    voxels = torch.from_numpy(apply_linear(transform.grid.inverse_matrix, np.ascontiguousarray(displacement)))[None]
    determinants = jacobian_determinant(voxels)[0].numpy()
    return float(determinants[own].mean(dtype=np.float64))
