"""Implicit shapes in millimetres and the canvas they are painted on.

A shape is an array of signed distances (negative inside, millimetres, approximate away from the surface), evaluated
only where the shape can be.  Painting with the distance as coverage gives anti-aliased grey values at any voxel size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]
Box = tuple[slice, slice, slice]
FAR = np.float32(1e3)


def ellipsoid(x: Array, y: Array, z: Array, centre: Sequence[float] | Array, radii: Sequence[float]) -> Array:
    """Signed distance to an axis-aligned ellipsoid (first order, exact on the surface; Quilez 2008)."""
    # Python floats keep float32 arrays float32, numpy's scalars would not.
    squares = [((c - float(o)) * (1 / float(r))) ** 2 for c, o, r in zip((x, y, z), centre, radii, strict=True)]
    k0 = np.sqrt(squares[0] + squares[1] + squares[2])
    k1 = np.sqrt(sum(s * (1 / float(r) ** 2) for s, r in zip(squares, radii, strict=True)))
    return np.asarray(k0 * (k0 - 1.0) / np.maximum(k1, 1e-6), np.float32)


def rotated(
    x: Array, y: Array, z: Array, centre: Sequence[float], degrees: tuple[float, float, float]
) -> tuple[Array, Array, Array]:
    """Coordinates turned about `centre` by angles about the x, y and z axis, in that order."""
    a, b, c = (math.radians(d) for d in degrees)
    ox, oy, oz = (float(o) for o in centre)
    u, v, w = x - ox, y - oy, z - oz
    v, w = v * math.cos(a) + w * math.sin(a), w * math.cos(a) - v * math.sin(a)
    u, w = u * math.cos(b) - w * math.sin(b), w * math.cos(b) + u * math.sin(b)
    u, v = u * math.cos(c) + v * math.sin(c), v * math.cos(c) - u * math.sin(c)
    return u + ox, v + oy, w + oz


def smooth_union(a: Array, b: Array, width: float) -> Array:
    """Union whose crease is rounded over `width` mm (polynomial smooth minimum)."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return np.asarray(np.minimum(a, b) - h * h * (width / 4), np.float32)


def smooth_intersection(a: Array, b: Array, width: float) -> Array:
    """Intersection whose crease is rounded over `width` mm."""
    return np.asarray(-smooth_union(-a, -b, width), np.float32)


def spline(points: ArrayLike, step: float) -> NDArray[np.float64]:
    """Catmull-Rom curve through `points` (N, D), sampled about every `step` mm (of the first three columns)."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    out = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        t = np.linspace(0, 1, max(1, round(float(np.linalg.norm((c - b)[:3])) / step)), endpoint=False)[:, None]
        out.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*out, p[-2:-1]])


class Canvas:
    """Grey values and labels of one volume, with the anatomical coordinates of every voxel.

    `coordinates`: three float32 arrays (X, Y, Z), the place in the reference anatomy (mm) that each voxel shows.
    `voxel_mm`: the longest side of a voxel; an edge is blurred over it and the width of a scanner's focus.
    """

    def __init__(self, coordinates: tuple[Array, Array, Array], voxel_mm: float) -> None:
        self.x, self.y, self.z = coordinates
        self.voxel_mm = voxel_mm
        self._edge_mm = voxel_mm + 0.8
        self.hu = np.full(self.x.shape, -1000, np.float32)
        self.labels = np.zeros(self.x.shape, np.uint8)
        self._stride = max(2, round(8 / voxel_mm))
        n = self._stride
        self._coarse = np.stack([c[::n, ::n, ::n] for c in coordinates])

    def box(self, lower: ArrayLike, upper: ArrayLike, margin: float = 6.0, within: Box | None = None) -> Box | None:
        """The smallest block of voxels (inside `within`) that holds the anatomical box `lower`..`upper`.

        None when it is out of view.
        """
        n = self._stride
        first = [0, 0, 0] if within is None else [s.start // n for s in within]
        last = [-(-size // n) for size in self.x.shape] if within is None else [-(-s.stop // n) for s in within]
        # Samples are one stride apart; where the deformation stretches they show up to 1.3 strides.
        for step, block in ((4, 4 * n), (1, n)):
            part = self._coarse[:, first[0] : last[0] : step, first[1] : last[1] : step, first[2] : last[2] : step]
            reach = margin + 1.3 * block * self.voxel_mm / (2 if step > 1 else 1)
            low = np.asarray(lower, np.float32) - np.float32(reach)
            high = np.asarray(upper, np.float32) + np.float32(reach)
            hit = (part[0] >= low[0]) & (part[0] <= high[0])
            for c, a, b in zip(part[1:], low[1:], high[1:], strict=True):
                hit &= (c >= a) & (c <= b)
            if not hit.any():
                return None
            for axis in range(3):
                where = np.flatnonzero(hit.any(tuple(k for k in range(3) if k != axis)))
                first[axis], last[axis] = (
                    max(0, first[axis] + (int(where[0]) - 1) * step),
                    min(-(-self.x.shape[axis] // n), first[axis] + (int(where[-1]) + 1) * step + 1),
                )
        i, j, k = (slice(a * n, min(b * n, size)) for a, b, size in zip(first, last, self.x.shape, strict=True))
        return i, j, k

    @property
    def everywhere(self) -> Box:
        """The block of all voxels."""
        return tuple(slice(0, n) for n in self.x.shape)  # type: ignore[return-value]

    def at(self, box: Box) -> tuple[Array, Array, Array]:
        """Anatomical coordinates of the voxels of a block."""
        return self.x[box], self.y[box], self.z[box]

    def tube(self, box: Box, points: ArrayLike, radii: ArrayLike) -> tuple[Array, Array]:
        """Signed distance to a tube along a polyline (N, 3) with radii (N,), and the y of its nearest axis point."""
        p = np.asarray(points, np.float32)
        r = np.broadcast_to(np.asarray(radii, np.float32), (len(p),))
        distance = np.full(self.x[box].shape, FAR)
        axis_y = np.zeros_like(distance)
        small = distance.size < 6000
        for a, b, ra, rb in zip(p[:-1], p[1:], r[:-1], r[1:], strict=True):
            inner: Box | None = (slice(None), slice(None), slice(None))
            if not small:
                reach = max(ra, rb) + 4
                inner = self.box(np.minimum(a, b) - reach, np.maximum(a, b) + reach, 0, box)
                if inner is None:
                    continue
                i, j, k = (
                    slice(max(s.start, o.start) - o.start, max(0, min(s.stop, o.stop) - o.start))
                    for s, o in zip(inner, box, strict=True)
                )
                inner = (i, j, k)
            x, y, z = self.x[box][inner] - a[0], self.y[box][inner] - a[1], self.z[box][inner] - a[2]
            ab = b - a
            t = np.clip((x * ab[0] + y * ab[1] + z * ab[2]) / max(float(ab @ ab), 1e-6), 0, 1)
            d = np.sqrt((x - t * ab[0]) ** 2 + (y - t * ab[1]) ** 2 + (z - t * ab[2]) ** 2) - (ra + t * (rb - ra))
            nearer = d < distance[inner]
            np.copyto(distance[inner], d, where=nearer)
            np.copyto(axis_y[inner], a[1] + t * ab[1], where=nearer)
        return distance, axis_y

    def paint(self, box: Box, distance: Array, hu: Array | float, label: int | None = None) -> None:
        """Cover the inside of a shape with grey values, and with `label` if one is given (0 clears)."""
        cover = np.clip(0.5 - distance / self._edge_mm, 0, 1)
        view = self.hu[box]
        view += cover * (hu - view)
        if label is not None:
            self.labels[box][distance < 0] = label
