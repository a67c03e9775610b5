"""Closed contours on a slice and the pixels that they enclose, each from the other."""

from collections.abc import Iterable

import contourpy
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def filled(contours: Iterable[Array], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel centres of a slice, (X, Y), lie within an odd number of the closed ``contours``.

    A contour is (N, 2): positions along the two array axes, in pixels, beyond the slice too; the last point is joined to the
    first. By the even-odd rule a contour within another is a hole, and one beside it a part of its own (DICOM PS3.3,
    C.8.8.6: inner contours are taken out by XOR).
    """
    columns, rows = size
    # True where a line along the first axis crosses a contour before the pixel.
    crossed = np.zeros((columns + 1, rows), dtype=np.bool_)
    for contour in contours:
        (x, y), (next_x, next_y) = contour.T, np.roll(contour, -1, axis=0).T
        # The lower end belongs to an edge, the upper one to the next edge: a corner counts once.
        first = np.clip(np.ceil(np.minimum(y, next_y)), 0, rows).astype(int)
        counts = np.clip(np.ceil(np.maximum(y, next_y)), 0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(contour)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        where = x[edge] + (row - y[edge]) * (next_x - x)[edge] / (next_y - y)[edge]
        column = np.clip(np.ceil(where), 0, columns).astype(int)
        np.logical_xor.at(crossed, (column, row), True)
    filled: NDArray[np.bool_] = np.logical_xor.accumulate(crossed, axis=0)[:-1]
    return filled


def outlines(mask: NDArray[np.bool_]) -> list[Array]:
    """The closed contours, each (N, 2) in pixels, half-way between the pixels of ``mask`` (X, Y) and the others.

    Holes are contours of their own; :func:`filled` gives the mask back.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    x, y = (np.arange(-1, length + 1) for length in mask.shape)
    lines = contourpy.contour_generator(x, y, padded.T).lines(0.5)
    return [np.asarray(line[:-1], dtype=np.float64) for line in lines]
