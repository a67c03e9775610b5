"""A picture of one prepared case in three planes, its labels in colour."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.files.whole import write_whole
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


def label_colour(label: int) -> str:
    """The colour (``#rrggbb``) of a label, for our organs that of :data:`COLOURS`; beyond them they come again."""
    red, green, blue = COLOURS[1 + (label - 1) % (len(COLOURS) - 1)].astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def write_preview(image: Image, labels: NDArray[np.uint8] | None, path: Path, focus: int | None = None) -> None:
    """Write a PNG: axial, coronal and sagittal, the patient's right and front on the left, head on top.

    ``image`` is LAS with cubic voxels; ``labels`` (X, Y, Z), if any. The planes go through the middle of the labels, or of
    the organ ``focus``. The file appears whole or not at all.
    """
    from matplotlib.image import imsave

    content = io.BytesIO()
    imsave(content, picture(image, labels, focus), format="png")
    write_whole(path, lambda temporary: temporary.write_bytes(content.getvalue()))


def picture(image: Image, labels: NDArray[np.uint8] | None, focus: int | None = None) -> NDArray[np.uint8]:
    """Rows, columns and colours, (largest of Y and Z, X + X + Y, 3) uint8: the three planes side by side."""
    chosen = np.zeros((0, 3)) if labels is None else np.argwhere(labels > 0 if focus is None else labels == focus)
    middle = np.median(chosen, axis=0) if len(chosen) else np.array(image.array.shape) // 2
    i, j, k = middle.astype(int).tolist()
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
