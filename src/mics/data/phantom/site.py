"""Where organs are painted: the canvas, whose it is, and how an organ lies in its surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mics import organs
from mics.data.phantom.intensities import Tissues, texture
from mics.data.phantom.shapes import Array, Box, Canvas, smooth_intersection, spline
from mics.data.phantom.subject import Subject
from mics.data.phantom.torso import Torso


def tube_points(x: ArrayLike, y: ArrayLike, z: ArrayLike, radius: ArrayLike) -> Array:
    """Control points (N, 4) of a tube from its columns: place in mm, radius in mm."""
    return np.column_stack(np.broadcast_arrays(*(np.asarray(c, float) for c in (x, y, z, radius))))


class Site:
    """One subject's trunk with the places that several organs share.

    `shift`: of everything under the diaphragm, mm.  `retro`: of kidneys, pancreas, splenic vessels.  `gap`: mm of fat
    around an organ.  `kidneys`: centres by label.  `junction`: oesophagus to stomach.  `pancreas`: its axis, (N, 4).
    """

    def __init__(self, canvas: Canvas, subject: Subject, tissues: Tissues, torso: Torso) -> None:
        self.canvas, self.subject, self.tissues, self.torso = canvas, subject, tissues, torso
        self.shift = np.array(subject.upper_shift)
        self.gap = 1.0 + 4.0 * subject.visceral_fat
        # Kidneys, pancreas and splenic vessels keep company: their heights correlate at .7 to .95.
        rng = subject.rng("retroperitoneum")
        self.retro = self.shift + np.array([0, rng.normal(0, 4), rng.normal(-3, 17)])
        self.kidneys = {
            label: np.array(mean) + self.retro + subject.rng(f"kidney place {label}").normal(0, (5, 9, 13))
            for label, mean in ((organs.RIGHT_KIDNEY, (130, 138, 279)), (organs.LEFT_KIDNEY, (269, 136, 286)))
        }
        self.junction = np.array([218, 172, 378]) + self.shift + subject.rng("junction").normal(0, (4, 5, 5))
        self.pancreas = self._pancreas_axis()

    def _pancreas_axis(self) -> Array:
        rng = self.subject.rng("pancreas axis")
        size, rise = np.exp(rng.normal(0.22, 0.12)), rng.normal(0, 8)
        axis = tube_points(
            [172, 178, 192, 216, 246, 278],
            [190, 194, 201, 203, 183, 156],
            [266, 286, 304, 316, 328 + rise, 340 + rise],
            np.array([11, 14, 11.5, 10, 10, 9.5]) * size,
        )
        axis[:, :3] += self.retro * (0.6, 1, 1) + rng.normal(0, 5, (6, 3))
        return spline(axis, 6)

    def tube(self, points: Array, hu: float, label: int | None = None, gap: float = 0.0) -> tuple[Box, Array] | None:
        """A tube along control points (N, 4), smoothed; its block and distance, None out of view."""
        curve = spline(points, max(6.0, 1.1 * float(points[:, 3].mean())))
        c, reach = self.canvas, curve[:, 3].max()
        box = c.box(curve[:, :3].min(0) - reach, curve[:, :3].max(0) + reach)
        if box is None:
            return None
        d, _ = c.tube(box, curve[:, :3], curve[:, 3])
        self.place(box, d, hu, label, gap)
        return box, d

    def place(self, box: Box, d: Array, hu: Array | float, label: int | None, gap: float = 0.0) -> None:
        """An organ in a bed of fat, which stays inside the abdomen."""
        if gap > 0:
            bed = np.maximum(np.maximum(d - gap, self.torso.wall[box]), self.torso.dome[box])
            self.canvas.paint(box, bed, self.tissues["fat"], 0)
        self.canvas.paint(box, d, hu, label)

    def confined(self, box: Box, d: Array, margin: float) -> Array:
        """A shape pressed against the abdominal wall and the diaphragm, `margin` mm from them."""
        d = smooth_intersection(d, self.torso.wall[box] + np.float32(margin), 6)
        return smooth_intersection(d, self.torso.dome[box] + np.float32(margin), 6)

    def vessel_inside(self, organ: int, points: Array, hu: float) -> None:
        """A vessel seen only within an organ, whose label it keeps."""
        curve = spline(points, 10)
        box = self.canvas.box(curve[:, :3].min(0), curve[:, :3].max(0))
        if box is not None:
            d, _ = self.canvas.tube(box, curve[:, :3], curve[:, 3])
            self.canvas.paint(box, np.where(self.canvas.labels[box] == organ, d, np.float32(1e3)), hu)

    def texture(self, name: str, box: Box, lattice_mm: float) -> Array:
        """Unit-variance texture of one tissue."""
        return texture(self.subject.rng(name), self.canvas.at(box), lattice_mm)


def local(canvas: Canvas, box: Box, shift: Sequence[float] | Array) -> tuple[Array, Array, Array]:
    """Anatomical coordinates of a block as an organ that is shifted by `shift` sees them."""
    x, y, z = (c - np.float32(s) for c, s in zip(canvas.at(box), shift, strict=True))
    return x, y, z
