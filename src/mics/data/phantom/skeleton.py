"""Spine, ribs, sternum and pelvis."""

from __future__ import annotations

import numpy as np

from mics.data.phantom.shapes import Array, Box, ellipsoid, rotated, smooth_intersection
from mics.data.phantom.subject import EXTENT
from mics.data.phantom.torso import MIDLINE, Torso

# Heights (mm) of the discs from the sacrum upwards: L5/S1, L4/5, ..., population means.
_DISCS = np.array([158, 192, 226, 259, 291, 321, 349, 376, 402, 427, 451, 474, 496, 518, 540.0])


class Skeleton:
    """Paints the bones of a trunk; bone density is the subject's."""

    def __init__(self, torso: Torso) -> None:
        self.torso, self.canvas, self.subject = torso, torso.canvas, torso.subject
        self.density = self.subject.bone_density

    def paint(self) -> None:
        """All bones."""
        self._pelvis()
        self._spine()
        self._ribs()

    def _pelvis(self) -> None:
        c, density = self.canvas, self.density
        lift = float(self.subject.rng("pelvis").normal(0, 10))
        box = c.box((-20, 0, -80), (EXTENT[0] + 20, 250, 220 + lift))
        if box is None:
            return
        x, y, z = c.at(box)
        z = z - np.float32(lift)
        x = np.abs(x - np.float32(MIDLINE))
        muscle = self.torso.tissues["muscle"]
        gluteus = ellipsoid(x, y, z, (96, 84, 66), (72, 42, 104))
        c.paint(box, np.maximum(gluteus, self.torso.skin[box] + 6 + 12 * self.subject.fat), muscle)
        iliacus = ellipsoid(x, y, z, (88, 140, 110), (26, 26, 60))
        c.paint(box, iliacus, muscle)
        # Each wing: at every height a straight plate from the sacral joint (a) to the front (b).
        heights = [-10, 40, 90, 140, 175, 202]
        a_x, a_y = np.interp(z, heights, [74, 66, 56, 48, 62, 100]), np.interp(z, heights, [128, 112, 92, 80, 86, 112])
        b_x, b_y = (
            np.interp(z, heights, [98, 106, 118, 130, 134, 118]),
            np.interp(z, heights, [148, 158, 172, 184, 168, 128]),
        )
        ab_x, ab_y = b_x - a_x, b_y - a_y
        t = np.clip(((x - a_x) * ab_x + (y - a_y) * ab_y) / (ab_x**2 + ab_y**2), 0, 1)
        bulge = 7 * np.sin(np.pi * t)  # the wing is hollow towards the belly
        wing = np.hypot(x - a_x - t * ab_x - bulge, y - a_y - t * ab_y + bulge) - np.interp(
            z, heights, [10, 9, 6, 6, 6, 5]
        )
        wing = np.maximum(wing, np.abs(z - 96) - 106).astype(np.float32)
        c.paint(box, wing, np.where(wing > -2.5, 560 * density, 220 * density))
        hip = np.sqrt((x - 98) ** 2 + (y - 148) ** 2 + (z - 32) ** 2)
        socket = np.maximum(hip - 36, x - 108)
        c.paint(box, socket, np.where(socket > -3, 480 * density, 240 * density))
        c.paint(box, hip - 28, 60.0)
        along = np.clip(((x - 98) * 44 - (y - 148) * 14 - (z - 32) * 20) / (44**2 + 14**2 + 20**2), 0, 1.2)
        neck = np.sqrt((x - 98 - 44 * along) ** 2 + (y - 148 + 14 * along) ** 2 + (z - 32 + 20 * along) ** 2)
        femur = np.minimum(hip - 25, neck - 17)
        c.paint(box, femur, np.where(femur > -2.5, 480 * density, 230 * density))
        pubis = np.hypot(y - 200, z - 20 - 0.15 * x) - 10
        c.paint(box, np.maximum(pubis, np.maximum(x - 72, 3 - x)), 330 * density)
        self._sacrum(box, x, y, z)
        bladder = ellipsoid(x, y, z, (0, 180, 30), (40, 30, 34))
        c.paint(box, bladder, 45.0)
        c.paint(box, bladder + 3, 8.0)

    def _sacrum(self, box: Box, x: Array, y: Array, z: Array) -> None:
        """A body in the middle, wings that meet the ilium, narrowing downwards."""
        c, density = self.canvas, self.density
        u, v, w = rotated(x, y, z, (0, 98, 112), (-28.0, 0.0, 0.0))
        flat = np.abs(v - 98 + 0.002 * u**2) - 11 - 10 * np.exp(-((u / 24) ** 2))
        sacrum = smooth_intersection(flat, u - 68 + 0.5 * np.maximum(150 - w, 0), 12)
        sacrum = smooth_intersection(sacrum, np.abs(w - 108) - 54, 12)
        c.paint(box, sacrum, np.where(sacrum > -2.5, 420 * density, 170 * density))
        c.paint(box, np.maximum(np.hypot(u, v - 86) - 6, np.abs(w - 115) - 45), 25.0)
        for h in (88, 112, 136):
            c.paint(box, np.maximum(np.hypot(u - 22, w - h) - 4, np.abs(v - 98) - 15), 10.0)

    def _spine(self) -> None:
        c, density = self.canvas, self.density
        box = c.box((130, 0, 100), (270, 185, EXTENT[2] + 60))
        if box is None:
            return
        x, y, z = c.at(box)
        x, front = np.abs(x - np.float32(MIDLINE)), self.torso.spine_front[box]
        level = np.interp(z, _DISCS, np.arange(len(_DISCS))).astype(np.float32)
        height = np.interp(z, _DISCS, np.append(np.diff(_DISCS), 22)).astype(np.float32)
        from_disc = np.abs(level - np.rint(level)) * height  # mm above or below the nearest disc
        thoracic = np.clip((z - 300) / 150, 0, 1)
        waist = 2.0 - 2.0 * np.clip(np.abs(0.5 - from_disc / height) * 2, 0, 1)
        rx, ry = 25 - 6 * thoracic - waist, 17 - 2.5 * thoracic - 0.5 * waist
        below = np.float32(152) - z  # the sacrum is the pelvis's
        body = np.maximum((np.sqrt((x / rx) ** 2 + ((y - front + ry) / ry) ** 2) - 1) * ry, below)
        c.paint(box, body, 85.0)
        vertebra = np.maximum(body, 3.5 - from_disc)
        c.paint(box, vertebra, np.where(vertebra > -2, 400 * density, 200 * density))
        canal_y = front - 2 * ry - 8
        ring = np.hypot(x, y - canal_y)
        behind = y - canal_y
        middle = 0.5 * height - from_disc  # 0 at mid-vertebra
        pedicles = np.maximum(np.abs(x - 13) - 4.5, np.maximum(np.abs(behind - 4) - 9, middle - 0.24 * height))
        laminae = np.maximum(np.abs(0.55 * x + behind + 9) - 3.5, np.maximum(x - 17, middle - 0.34 * height))
        facets = np.hypot(np.hypot(x - 18, behind + 8), 0.6 * (0.5 * height - middle)) - 8
        spinous = np.maximum(x - 4.0, np.maximum(np.abs(behind + 29) - 19, middle - 0.26 * height))
        transverse = np.maximum(np.hypot(behind + 2, 0.9 * middle) - 4.5, x - 41)
        for part, hu in ((transverse, 330), (pedicles, 380), (laminae, 430), (facets, 380), (spinous, 330)):
            c.paint(box, np.maximum(part, below), hu * density)
        c.paint(box, np.maximum(ring - 8, below), 30.0)

    def _ribs(self) -> None:
        c, density = self.canvas, self.density
        box = c.box((0, 0, 235), (EXTENT[0], EXTENT[1], EXTENT[2] + 60))
        if box is None:
            return
        z, wall, theta = c.z[box], self.torso.wall[box], self.torso.theta[box]
        # A rib falls from the spine to the side; beyond its bony end cartilage climbs to the sternum.
        drop = 112 * np.sin(np.minimum(theta, 2.2) * 0.72) ** 1.4 - 55 * np.maximum(theta - 2.3, 0)
        order = (z + drop - 335) / 27.5  # 0: twelfth rib, 1: eleventh, ...
        number = np.rint(order)
        rib = (np.hypot((order - number) * 27.5 / 8.5, (wall - 5.5) / 4.0) - 1) * 4.0
        end = np.select([number < -0.5, number < 0.5, number < 1.5], [-1, 0.95, 1.5], 2.3)
        bone = np.maximum(rib, np.maximum(theta - end, 0.28 - theta) * 90)
        cartilage = np.maximum(rib, np.maximum((2.25 - theta) * 90, (1.5 - number) * 28))
        c.paint(box, cartilage, 95.0)
        c.paint(box, bone, np.where(bone > -1.8, 480 * density, 180 * density))
        sternum = np.maximum(np.abs(c.x[box] - MIDLINE) - 17, np.abs(wall - 6) - 6)
        sternum = np.maximum(np.maximum(sternum, 418 - z), (2.4 - theta) * 50)
        c.paint(box, np.asarray(sternum, np.float32), 220.0 * density)
