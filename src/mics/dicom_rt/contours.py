"""Closed contours on a slice and the pixels that they enclose, each from the other."""

import itertools
from collections.abc import Iterable
from typing import cast

import contourpy
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def filled(contours: Iterable[Array], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel centres of a slice, (X, Y), lie within an odd number of the closed ``contours``.

    A contour is (N, 2): positions along the two array axes, in pixels, beyond the slice too; the last point is joined to the
    first. By the even-odd rule a contour within another is a hole, one beside it a part of its own, and a keyhole a hole
    (DICOM PS3.3, C.8.8.6.3).
    """
    columns, rows = size
    # True where a line along the first axis crosses a contour before the pixel.
    crossed = np.zeros((columns + 1, rows), dtype=np.bool_)
    for contour in contours:
        ends = np.stack([contour, np.roll(contour, -1, axis=0)])
        # From below, so that an edge and its way back, as keyholes have them, are rounded alike and cancel.
        upward = ends[0, :, 1] <= ends[1, :, 1]
        (x, y), (next_x, next_y) = np.where(upward[:, None], ends, ends[::-1]).transpose(0, 2, 1)
        # The lower end belongs to an edge, the upper one to the next edge: a corner counts once.
        first = np.clip(np.ceil(y), 0, rows).astype(int)
        counts = np.clip(np.ceil(next_y), 0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(contour)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        where = x[edge] + (row - y[edge]) * (next_x - x)[edge] / (next_y - y)[edge]
        column = np.clip(np.ceil(where), 0, columns).astype(int)
        np.logical_xor.at(crossed, (column, row), True)
    filled: NDArray[np.bool_] = np.logical_xor.accumulate(crossed, axis=0)[:-1]
    return filled


def outlines(mask: NDArray[np.bool_]) -> list[Array]:
    """The closed contours, each (N, 2) in pixels, half-way between the pixels of ``mask`` (X, Y) and the others.

    A hole is joined to the contour around it by a channel without width, the keyhole of DICOM PS3.3, C.8.8.6.3: it stays a
    hole for readers that unite contours as well as for those that take them by XOR. :func:`filled` gives the mask back.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    x, y = (np.arange(-1, length + 1) for length in mask.shape)
    generator = contourpy.contour_generator(x, y, padded.T, fill_type=contourpy.FillType.OuterOffset)
    polygons, offsets = cast(tuple[list[Array], list[NDArray[np.uint32]]], generator.filled(0.5, np.inf))
    # The last point of each ring is its first one.
    return [
        _joined([points[start : stop - 1] for start, stop in itertools.pairwise(bounds.tolist())])
        for points, bounds in zip(polygons, offsets, strict=True)
    ]


def _joined(rings: list[Array]) -> Array:
    """An outer ring and those of its holes as one, each hole joined where it is nearest."""
    outer, *holes = rings
    for hole in holes:
        apart = np.linalg.norm(outer[:, None] - hole[None], axis=-1)
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        outer = np.concatenate([outer[: i + 1], hole[j:], hole[: j + 1], outer[i:]])
    return outer
