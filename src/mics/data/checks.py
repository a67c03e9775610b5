"""What speaks against a prepared case: figures of every case, and sentences where one of them is odd."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.data.frame import Frame, centres
from mics.data.organs import LEFT_KIDNEY, LIVER, ORGAN_NAMES, RIGHT_KIDNEY, SPLEEN
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import inside

_SCALES = (0.4, 2.5)
_TURN_DEGREES = 30.0
_FAR_MM = 90.0
_KEPT = 0.9
_SIDES = ((LIVER, SPLEEN), (RIGHT_KIDNEY, LEFT_KIDNEY))


def check(frame: Frame, native: Grid, affine: NDArray[np.float64]) -> tuple[dict[str, Any], list[str]]:
    """Of the affine: how much of the frame the scan fills, how much it is scaled (volume) and turned (degrees)."""
    linear = affine[:3, :3]
    left, _, right = np.linalg.svd(linear)
    turn = float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
    scale = float(np.linalg.det(linear))
    figures = {
        "in_view": round(float(inside(native, frame.grid, affine).mean()), 3),
        "scale": round(scale, 3),
        "turn_degrees": round(turn, 1),
    }
    sentences = []
    if not _SCALES[0] <= scale <= _SCALES[1] or turn > _TURN_DEGREES:
        sentences.append(
            f"The affine changes the volume by {scale:.2f} and turns by {turn:.0f} degrees: it may have failed."
        )
    return figures, sentences


def check_labels(
    frame: Frame, prepared: Image, native: Image, affine: NDArray[np.float64], organs: tuple[int, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Of the labels: volumes in ml, which organs the frame cuts, whether they lie far from the reference's, and sides."""
    places, sentences = centres(prepared), []
    volumes = {organ: np.count_nonzero(prepared.array == organ) * _ml(prepared.grid) for organ in organs}
    for organ, volume in volumes.items():
        before = np.count_nonzero(native.array == organ) * _ml(native.grid) / abs(np.linalg.det(affine[:3, :3]))
        if before > 0 and volume < _KEPT * before:
            sentences.append(f"Only {volume / before:.0%} of the {ORGAN_NAMES[organ]} lies in the frame.")
    # One organ may lie elsewhere in a healthy person; most of them may not.
    both = places.keys() & frame.organs_mm.keys()
    distances = [np.linalg.norm(np.subtract(places[organ], frame.organs_mm[organ])) for organ in both]
    if distances and (distance := float(np.median(distances))) > _FAR_MM:
        sentences.append(f"The organs are {distance:.0f} mm (median) from the reference's: the affine may have failed.")
    for right, left in _SIDES:
        if right in places and left in places and places[right][0] > places[left][0]:
            sentences.append(f"The {ORGAN_NAMES[right]} is to the left of the {ORGAN_NAMES[left]}: mirrored?")
    return {"volumes_ml": {str(organ): round(volume, 1) for organ, volume in volumes.items()}}, sentences


def _ml(grid: Grid) -> float:
    return float(np.prod(grid.spacing)) / 1000
