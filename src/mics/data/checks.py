"""What speaks against a prepared case: figures of every case, and sentences where one of them is odd."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.data.frame import Frame, centres
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import inside
from mics.organs import LEFT_KIDNEY, LIVER, ORGAN_NAMES, RIGHT_KIDNEY, SPLEEN

_SCALES = (0.6, 1.6)
"""Of the volume, and along each axis: what adults differ by."""
_TURN_DEGREES = 30.0
_FAR_MM = 90.0
_KEPT = 0.9
_MAX_ML = {LIVER: 4000, SPLEEN: 2000, RIGHT_KIDNEY: 800, LEFT_KIDNEY: 800}
"""What hardly anybody's organ exceeds."""
_SIDES = ((LIVER, SPLEEN), (RIGHT_KIDNEY, LEFT_KIDNEY))


def check(frame: Frame, native: Grid, affine: NDArray[np.float64]) -> tuple[dict[str, Any], list[str]]:
    """Check the affine: how much of the frame the scan fills, its scales (volume, three axes) and rotation (degrees)."""
    linear = affine[:3, :3]
    left, stretches, right = np.linalg.svd(linear)
    rotation = float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
    scale = float(np.linalg.det(linear))
    figures = {
        "in_view": round(float(inside(native, frame.grid, affine).mean()), 3),
        "scale": round(scale, 3),
        "stretches": [round(float(stretch), 3) for stretch in stretches],
        "turn_degrees": round(rotation, 1),
    }
    messages = []
    low, high = _SCALES
    if not low <= scale <= high or rotation > _TURN_DEGREES:
        messages.append(
            f"The affine changes the volume by {scale:.2f} and turns by {rotation:.0f} degrees: it may have failed."
        )
    elif not low <= stretches.min() <= stretches.max() <= high:
        messages.append(
            f"The affine scales by {stretches.min():.2f} along one axis and by {stretches.max():.2f} along another: it may have "
            "failed."
        )
    return figures, messages


def check_labels(
    frame: Frame, prepared: Image, native: Image, affine: NDArray[np.float64], organs: tuple[int, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Check the labels: volumes in ml, in frame and scan, which organs the frame cuts, whether they lie far, and sides."""
    places, messages = centres(prepared), []
    volumes = {organ: np.count_nonzero(prepared.array == organ) * _ml(prepared.grid) for organ in organs}
    native_volumes = {organ: np.count_nonzero(native.array == organ) * _ml(native.grid) for organ in organs}
    for organ, volume in volumes.items():
        if volume > _MAX_ML.get(organ, np.inf):
            messages.append(
                f"The {ORGAN_NAMES[organ]} has {volume:.0f} ml in the frame and {native_volumes[organ]:.0f} ml in the scan: the "
                "affine or the labels may be wrong."
            )
        before = native_volumes[organ] / abs(np.linalg.det(affine[:3, :3]))
        if before > 0 and volume < _KEPT * before:
            messages.append(f"Only {volume / before:.0%} of the {ORGAN_NAMES[organ]} lies in the frame.")
    # One organ may lie elsewhere in a healthy subject; most of them may not.
    both = places.keys() & frame.organs_mm.keys()
    distances = [np.linalg.norm(np.subtract(places[organ], frame.organs_mm[organ])) for organ in both]
    if distances and (distance := float(np.median(distances))) > _FAR_MM:
        messages.append(f"The organs are {distance:.0f} mm (median) from the reference's: the affine may have failed.")
    for right, left in _SIDES:
        if right in places and left in places and places[right][0] > places[left][0]:
            messages.append(f"The {ORGAN_NAMES[right]} is to the left of the {ORGAN_NAMES[left]}: mirrored?")
    return {"volumes_ml": _rounded(volumes), "native_volumes_ml": _rounded(native_volumes)}, messages


def _rounded(volumes: Mapping[int, float]) -> dict[str, float]:
    return {str(organ): round(volume, 1) for organ, volume in volumes.items()}


def _ml(grid: Grid) -> float:
    return float(np.prod(grid.spacing)) / 1000
