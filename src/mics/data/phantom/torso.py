"""The trunk that holds the organs: body wall, fat, muscle, diaphragm, lungs and heart."""

from __future__ import annotations

import numpy as np

from mics.data.phantom.intensities import LUNG, Tissues
from mics.data.phantom.shapes import Array, Canvas, ellipsoid, rotated, smooth_intersection, smooth_union, spline
from mics.data.phantom.subject import EXTENT, Subject

# Heights z (mm) and, at each, means of the population in the frame of `subject`.
HEIGHTS = np.array([0, 60, 120, 170, 220, 280, 340, 400, 450, 512.0])
_HALF_WIDTH = np.array([112, 116, 124, 131, 135, 139, 141, 139, 133, 122.0])
_BACK = np.array([72, 74, 80, 84, 86, 82, 74, 66, 62, 64.0])
_FRONT = np.array([206, 220, 238, 252, 262, 268, 270, 266, 258, 246.0])
_WALL_SIDE = np.array([22, 22, 19, 16, 14, 14, 15, 16, 18, 22.0])
_WALL_FRONT = np.array([9, 9, 9, 9, 9, 10, 11, 12, 13, 14.0])
_WALL_BACK = np.array([16, 16, 20, 22, 22, 21, 17, 16, 16, 17.0])
_FAT_SIDE = np.array([37, 42, 42, 38, 31, 24, 20, 18, 17, 15.0])
_FAT_FRONT = np.array([28, 31, 32, 32, 30, 27, 24, 21, 18, 15.0])
_FAT_BACK = np.array([34, 35, 35, 33, 28, 20, 16, 14, 13, 13.0])
_VERTEBRA_FRONT = np.array([85, 95, 122, 147, 156, 153, 139, 133, 130, 125.0])
MIDLINE = 199.0


def vertebra_front(z: float) -> float:
    """y (mm) of the front of the vertebral bodies at height z (mm)."""
    return float(np.interp(z, HEIGHTS, _VERTEBRA_FRONT))


class Torso:
    """The trunk, and the distances (mm, negative inside) that other parts need.

    `wall`: to the inside of the body wall.  `dome`: to the space under the diaphragm.  `skin`: to the outside.
    `theta`: angle in radians about the trunk's middle, 0 at the back, pi at the front.
    `spine_front`: y of the front of the vertebral bodies.
    """

    def __init__(self, canvas: Canvas, subject: Subject, tissues: Tissues) -> None:
        self.canvas, self.subject, self.tissues = canvas, subject, tissues
        # One row of the tables per 2 mm of height, looked up once for every voxel.
        self._row = np.clip((canvas.z * 0.5).astype(np.int32) + 40, 0, 340)
        self.spine_front = self._table(_VERTEBRA_FRONT)
        self._round_the_trunk()
        self.dome = self._diaphragm()

    def _table(self, values: np.ndarray) -> Array:
        rows = np.interp((np.arange(341) - 40) * 2.0, HEIGHTS, values).astype(np.float32)
        return np.asarray(rows[self._row], np.float32)

    def _round_the_trunk(self) -> None:
        x, y = self.canvas.x - np.float32(MIDLINE), self.canvas.y
        back, front = self._table(_BACK), self._table(_FRONT)
        middle = back + np.float32(0.45) * (front - back)
        v = y - middle
        theta = np.arctan2(np.abs(x), -v)
        radius = np.hypot(x, v)
        v = np.abs(v) / (np.where(v > 0, front - middle, middle - back) * np.float32(self.subject.depth))
        u = np.abs(x) / self._table(_HALF_WIDTH)
        # A superellipse of exponent 2.2.
        f = np.maximum(u, v)
        f = f * (1 + (np.minimum(u, v) / np.maximum(f, 1e-3)) ** 2.2) ** (1 / 2.2)
        self.wall = np.asarray(radius * (1 - 1 / np.maximum(f, 0.02)), np.float32)
        self.theta = np.asarray(theta, np.float32)
        side = np.sin(theta) ** 2
        front, back = np.where(theta > np.pi / 2, 1 - side, 0), np.where(theta <= np.pi / 2, 1 - side, 0)
        self._muscle = self.wall - (
            self._table(_WALL_SIDE) * side + self._table(_WALL_FRONT) * front + self._table(_WALL_BACK) * back
        )
        fat = self._table(_FAT_SIDE) * side + self._table(_FAT_FRONT) * front + self._table(_FAT_BACK) * back
        self.skin = np.asarray(self._muscle - np.float32(self.subject.fat) * fat - 3, np.float32)

    def _diaphragm(self) -> Array:
        c, rng = self.canvas, self.subject.rng("diaphragm")
        x, y, z = (a - np.float32(s) for a, s in zip((c.x, c.y, c.z), self.subject.upper_shift, strict=True))
        right, left = rng.normal(416, 6), rng.normal(401, 7)
        d = smooth_union(
            ellipsoid(x, y, z, (128, 172, right - 105), (80, 108, 105)),
            ellipsoid(x, y, z, (266, 162, left - 95), (76, 98, 95)),
            40,
        )
        d = smooth_union(d, ellipsoid(x, y, z, (200, 205, 320), (95, 80, 70)), 30)
        # Below its attachment, deep at the back and high at the front, everything is abdomen.
        return smooth_union(d, np.asarray(z - (285 + 0.3 * (y - 60)), np.float32), 25)

    def paint(self) -> None:
        """Skin, fat, muscle, lungs, heart, diaphragm."""
        self._shell()
        self._muscles()
        self._chest()

    def _shell(self) -> None:
        c, everywhere = self.canvas, self.canvas.everywhere
        c.paint(everywhere, self.skin, 0.0)
        c.paint(everywhere, self.skin + 2, self.tissues["fat"])
        c.paint(everywhere, self._muscle, self.tissues["muscle"])
        # The flank has three sheets of muscle with fat between them.
        depth = self.wall - self._muscle
        sheet = np.abs(self.wall - 0.55 * depth) - 0.7 * self.subject.fat
        flank = np.maximum(np.abs(self.theta - 1.75) - 0.55, (c.z - 300) / 60) * 30
        c.paint(everywhere, np.maximum(sheet, flank), self.tissues["fat"])
        c.paint(everywhere, self.wall, self.tissues["fat"])
        if self.subject.female:
            self._breasts()

    def _breasts(self) -> None:
        c, size = self.canvas, self.subject.rng("breasts").uniform(0.6, 1.2)
        for side in (-1, 1):
            centre = (MIDLINE + side * 80, 258, 452)
            box = c.box((centre[0] - 70, 220, 370), (centre[0] + 70, 330, EXTENT[2]))
            if box is not None:
                breast = ellipsoid(*c.at(box), centre, (64 * size, 46 * size, 62 * size))
                breast = np.maximum(breast, -self.skin[box])
                c.paint(box, breast, 0.0)
                c.paint(box, breast + 2, self.tissues["fat"])

    def _muscles(self) -> None:
        c, muscle = self.canvas, self.tissues["muscle"]
        x, y = np.abs(c.x - np.float32(MIDLINE)), c.y
        # Erector spinae: two columns behind the ribs and the transverse processes, widest in the loin.
        heights, rows = [0, 120, 160, 200, 280, 360, 512], np.arange(341) * 2.0 - 80
        wide, deep, away = (
            np.interp(rows, heights, values).astype(np.float32)[self._row]
            for values in (
                [20, 34, 34, 33, 30, 27, 24],
                [5, 13, 20, 27, 25, 21, 19],
                [58, 62, 76, 80, 76, 64, 60],
            )
        )
        column = np.sqrt(((x - wide - 1) / wide) ** 2 + ((y - self.spine_front + away) / deep) ** 2)
        self._column = np.asarray(
            np.maximum(np.maximum((column - 1) * deep, self.skin + 4 + 12 * self.subject.fat), 90 - c.z), np.float32
        )
        c.paint(c.everywhere, self._column, muscle)
        for side in (-1, 1):
            psoas = [
                (MIDLINE + side * w, vertebra_front(max(h, 150)) + d, h, r)
                for h, w, d, r in (
                    (325, 24, -20, 6), (285, 29, -17, 11), (235, 37, -15, 17), (185, 46, -8, 21),
                    (135, 58, 6, 20), (75, 72, 28, 16), (30, 84, 38, 13),
                )
            ]  # fmt: skip
            quadratus = [
                (MIDLINE + side * w, vertebra_front(h) + d, h, r)
                for h, w, d, r in ((325, 52, -52, 8), (265, 62, -48, 11), (205, 72, -42, 12))
            ]
            for points in (psoas, quadratus):
                curve = spline(points, 14)
                box = c.box(curve[:, :3].min(0) - 22, curve[:, :3].max(0) + 22)
                if box is not None:
                    c.paint(box, c.tube(box, curve[:, :3], curve[:, 3])[0], muscle)

    def _chest(self) -> None:
        c, t = self.canvas, self.tissues
        box = c.box((0, 0, 270), (EXTENT[0], EXTENT[1], EXTENT[2] + 60))
        if box is None:
            return
        x, y, z = c.at(box)
        wall, dome = self.wall[box], self.dome[box]
        rng = self.subject.rng("chest")
        hx, hy, hz = (
            float(v) for v in rng.normal((220, 206, 446), (5, 5, 6)) + np.array(self.subject.upper_shift) * 0.8
        )
        size = float(rng.normal(1, 0.07))
        u, v, w = rotated(x, y, z, (hx, hy, hz), (0.0, -15.0, 35.0))
        heart = ellipsoid(u, v, w, (hx, hy, hz), (68 * size, 50 * size, 58 * size))
        lungs = smooth_intersection(wall + 3, -dome + 2, 6)
        lungs = np.maximum(lungs, 36 - np.hypot(x - MIDLINE, y - self.spine_front[box] + 20))
        mediastinum = np.hypot(np.maximum(np.abs(x - 203) - 12, 0), np.maximum(np.abs(y - 175) - 70, 0)) - 14
        lungs = smooth_intersection(lungs, -mediastinum, 10)
        lungs = np.maximum(np.maximum(lungs, 5 - heart), 6 - self._column[box])
        # A lying subject's lung is denser at the back.
        c.paint(box, lungs, LUNG + np.clip((130 - y) * 0.6, -40, 60))
        c.paint(box, np.maximum(heart, -dome), t["myocardium"])
        chambers = (
            ((24, 6, -6), (34, 22, 40)),
            ((-6, 22, -4), (34, 18, 38)),
            ((-34, -8, 4), (24, 26, 34)),
            ((8, -30, 10), (34, 15, 28)),
        )
        for offset, radii in chambers:
            centre = (hx + offset[0] * size, hy + offset[1] * size, hz + offset[2] * size)
            chamber = ellipsoid(u, v, w, centre, [r * size for r in radii])
            c.paint(box, np.maximum(np.maximum(chamber, heart + 4), -dome), 0.95 * t["blood"])
        for side in (-1, 1):
            for _ in range(12):
                start = np.array([MIDLINE + side * 45, 165, 452])
                end = np.array([MIDLINE + side * rng.uniform(55, 120), rng.uniform(90, 240), rng.uniform(330, 520)])
                bend = (start + end) / 2 + rng.normal(0, 10, 3)
                curve = spline([(*start, 4.5), (*bend, 3), (*end, 1.2)], 16)
                part = c.box(curve[:, :3].min(0), curve[:, :3].max(0))
                if part is not None:
                    d, _ = c.tube(part, curve[:, :3], curve[:, 3])
                    c.paint(part, np.maximum(np.maximum(d, self.wall[part] + 4), 4 - self.dome[part]), 45.0)
        c.paint(box, np.maximum(np.abs(dome) - 1.2, wall), t["muscle"])
