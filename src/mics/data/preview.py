"""A picture of one prepared case in three planes, its labels in colour."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.image.intensity import WINDOWS
from mics.image.io import Image

COLOURS = np.array(
    [
        (0, 0, 0),
        *((230, 80, 80), (90, 200, 90), (60, 150, 60), (240, 220, 70), (200, 130, 60), (180, 110, 220), (90, 170, 240)),
        *((250, 60, 150), (60, 90, 250), (60, 220, 220), (250, 160, 60), (160, 250, 120), (120, 250, 180)),
    ],
    dtype=np.float32,
)
"""Red, green and blue of the background and of each organ."""

_OPACITY = 0.45


def write_preview(image: Image, labels: NDArray[np.uint8] | None, path: Path, focus: int | None = None) -> None:
    """Write a PNG: axial, coronal and sagittal, the patient's right and front on the left, head on top.

    ``image`` is LAS with cubic voxels; ``labels`` (X, Y, Z), if any. The planes go through the middle of the labels, or of
    the organ ``focus``, which then is shown alone. The file appears whole or not at all.
    """
    from matplotlib.image import imsave

    shown = labels if focus is None or labels is None else np.where(labels == focus, labels, 0)
    content = io.BytesIO()
    imsave(content, picture(image, shown), format="png")
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, path)


def picture(image: Image, labels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Rows, columns and colours, (largest of Y and Z, X + X + Y, 3) uint8: the three planes side by side."""
    labelled = np.argwhere(labels) if labels is not None and labels.any() else None
    middle = np.array(image.array.shape) // 2 if labelled is None else np.median(labelled, axis=0).astype(int)
    i, j, k = middle.tolist()
    axial = _coloured(image, labels, np.s_[:, :, k])
    coronal = _coloured(image, labels, np.s_[:, j, :])
    sagittal = _coloured(image, labels, np.s_[i, ::-1, :])
    # Rows come first in a picture, and run downwards.
    axial, coronal, sagittal = (plane.swapaxes(0, 1)[::-1] for plane in (axial, coronal, sagittal))
    height = max(axial.shape[0], coronal.shape[0])
    padded = [np.pad(plane, ((0, height - len(plane)), (0, 0), (0, 0))) for plane in (axial, coronal, sagittal)]
    return np.concatenate(padded, axis=1).round().astype(np.uint8)


def _coloured(
    image: Image, labels: NDArray[np.uint8] | None, index: tuple[slice | int, ...] | int
) -> NDArray[np.float32]:
    """One slice of the array as colours, (., ., 3) from 0 to 255."""
    width, level = WINDOWS["abdomen"]
    grey = np.clip((image.array[index].astype(np.float32) - (level - width / 2)) / width, 0, 1) * 255
    plane = np.repeat(grey[..., None], 3, axis=-1)
    if labels is not None:
        inside = labels[index] > 0
        plane[inside] = (1 - _OPACITY) * plane[inside] + _OPACITY * COLOURS[labels[index][inside]]
    return plane
