"""The digestive tract: oesophagus, stomach, gallbladder, duodenum, small bowel and colon, with what is in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mics import organs
from mics.data.phantom.intensities import AIR, texture
from mics.data.phantom.shapes import Array, spline
from mics.data.phantom.site import Site, tube_points
from mics.data.phantom.torso import vertebra_front


def oesophagus(site: Site) -> None:
    """The oesophagus, from the upper end of the chest to the stomach."""
    rng, end = site.subject.rng("oesophagus"), site.junction
    x, y = rng.normal(0, 4, 2)
    inside = float(rng.choice([20, 30, -300], p=[0.4, 0.35, 0.25]))
    axis = tube_points(
        [200 + x, 202 + x, 205 + x, 209 + 0.7 * x, end[0]],
        [138 + y, 140 + y, 148 + y, 160 + y, end[1]],
        [530, 470, 435, 405, end[2]],
        [7, 7, 7.5, 8, 8.5],
    )
    drawn = site.tube(axis, 42.0, organs.OESOPHAGUS, 1.5)
    if drawn:
        site.canvas.paint(drawn[0], drawn[1] + 5, inside)


def gallbladder(site: Site) -> None:
    """A pear under the liver, fundus to the front."""
    rng = site.subject.rng("gallbladder")
    size = float(np.clip(np.exp(rng.normal(0.2, 0.28)), 0.6, 1.9))
    neck = np.array([146, 204, 324]) + site.shift + rng.normal(0, (8, 6, 6))
    along = np.array([-20, 24, -24]) + rng.normal(0, (7, 7, 6))
    axis = np.stack([(*(neck + f * along), r * size) for f, r in ((0, 4), (0.35, 8.5), (0.7, 12.5), (1, 12))])
    drawn = site.tube(axis, 45.0, organs.GALLBLADDER, 0.5)
    if drawn:
        site.canvas.paint(drawn[0], drawn[1] + 1.5, site.tissues["bile"])


def stomach(site: Site) -> None:
    """Fundus under the left dome, body, antrum across the midline; gas in front of fluid, contrast or food."""
    c, rng = site.canvas, site.subject.rng("stomach")
    fill = float(np.clip(np.exp(rng.normal(0.2, 0.26)), 0.65, 1.75))
    s = site.shift + (0, 5, 0) + rng.normal(0, (7, 16, 10))
    bow, sag = rng.normal(0, 9, 2)
    axis = tube_points(
        [*(np.array([255, 266, 262 + bow, 240 + bow, 210, 180]) + s[0])],
        [*(np.array([158, 178, 208, 226, 228, 216]) + s[1])],
        [*(np.array([384, 364, 340 + sag, 318 + sag, 310 + sag, 318]) + s[2])],
        [26 * fill, 30 * fill, 29 * fill, 24 * fill, 19 * fill**0.5, 11],
    )
    curve = spline(np.concatenate([[(*(site.junction + (12, 2, 4)), 12)], axis]), 10)
    kind = str(rng.choice(["water", "contrast", "food"], p=[0.35, 0.4, 0.25]))
    inside = {"water": 15.0, "contrast": float(rng.uniform(120, 380)), "food": 40.0}[kind]
    level, p, q = 208 + s[1] + rng.normal(12, 14), *(float(v) for v in rng.uniform(0, 6, 2))
    box = c.box(curve[:, :3].min(0) - 45, curve[:, :3].max(0) + 45)
    if box is None:
        return
    d = site.confined(box, c.tube(box, curve[:, :3], curve[:, 3])[0], 1.0)
    x, y, z = c.at(box)
    site.place(box, d, site.tissues["bowel wall"], organs.STOMACH, site.gap)
    content: Array | float = inside + 40 * site.texture("food", box, 6) if kind == "food" else inside
    folds = 1.2 * np.sin(x / 6 + p) * np.sin(z / 5 + y / 7 + q)
    c.paint(box, d + 4 + folds, np.where(y > np.float32(level), AIR, content))


def bowel(site: Site) -> None:
    """Small bowel first, the colon around and before it, the duodenum last; organs painted later press into them."""
    rng = site.subject.rng("oral contrast")
    dose = float(rng.uniform(180, 450))
    contrast = dose if rng.random() < 0.55 else None
    _small_bowel(site, contrast)
    _colon(site, contrast)
    _duodenum(site, contrast)


def _loop(
    site: Site, curve: Array, rng: np.random.Generator, kind: str, contrast: float | None, haustra: float = 0.0
) -> None:
    # Every draw comes before the grid is looked at: a subject is the same on all grids.
    c, radius = site.canvas, float(curve[:, 3].max())
    level, strength, coin = float(rng.normal(-0.2, 0.5)), float(rng.uniform(0.6, 1.2)), rng.random()
    seed = int(rng.integers(2**31))
    box = c.box(curve[:, :3].min(0) - radius, curve[:, :3].max(0) + radius)
    if box is None:
        return
    d, axis_y = c.tube(box, curve[:, :3], curve[:, 3])
    x, y, z = c.at(box)
    if haustra:
        d = d + haustra * np.maximum(0, np.sin(x / 5.5 + 1) * np.sin(z / 6) + 0.4 * np.sin(y / 4))
    d = np.maximum(np.maximum(d, site.torso.wall[box] + 2), site.torso.dome[box] + 2)
    c.paint(box, d, site.tissues["bowel wall"])
    content: Array | float
    if kind == "gas":
        # A lying subject's gas is in front, fluid or contrast behind it.
        content = np.where(y > axis_y + level * radius, AIR, contrast if contrast and coin < 0.5 else 25.0)
    elif kind == "stool":
        lumps = texture(np.random.default_rng(seed), (x, y, z), 5.0)
        content = 30 + 50 * lumps - 500 * (lumps > 1.3)
    elif kind == "contrast" and contrast:
        content = contrast * strength
    else:
        content = 45 * strength - 12
    c.paint(box, d + 2.5, content)


def _small_bowel(site: Site, contrast: float | None) -> None:
    rng = site.subject.rng("small bowel")
    odds = [0.6, 0.33, 0.07] if contrast else [0.0, 0.92, 0.08]
    for _ in range(int(rng.integers(75, 95) * (1.2 - 0.6 * site.subject.visceral_fat))):
        point = np.array([rng.uniform(110, 290), rng.uniform(175, 245), rng.uniform(30, 285)])
        heading = rng.normal(0, 1, 3) * (1, 0.7, 0.7)
        radius = rng.uniform(9, 14)
        points = []
        for _ in range(int(rng.integers(4, 8))):
            points.append((*point, radius * rng.uniform(0.85, 1.15)))
            heading = 0.5 * heading / np.linalg.norm(heading) + 0.75 * rng.normal(0, 1, 3) * (1, 0.6, 0.6)
            point = point + 26 * heading / np.linalg.norm(heading)
            point = np.clip(point, (98, vertebra_front(point[2]) + 24, 20), (300, 250, 300))
        kind = str(rng.choice(["contrast", "fluid", "gas"], p=odds))
        _loop(site, spline(points, 13), rng, kind, contrast)


def _colon(site: Site, contrast: float | None) -> None:
    """From the caecum up on the right, across, down on the left; wider and gassier in front."""
    rng, s = site.subject.rng("colon"), site.shift
    sag, wide = rng.normal(0, 22), rng.uniform(0.9, 1.5)
    follow = np.array([0, 0, 0, 0.6, 0.8, 1, 1, 1, 1, 1, 0.8, 0, 0, 0, 0, 0])  # how far each point breathes
    axis = tube_points(
        [108, 100, 94, 100, 122, 160, 205, 252, 292, 304, 314, 316, 312, 300, 255, 205],
        [190, 180, 172, 178, 222, 246, 250, 244, 215, 180, 152, 145, 148, 165, 190, 150],
        [105, 150, 205, 245, 262, 262 + sag, 262 + sag, 285 + 0.6 * sag, 325, 335, 290, 235, 175, 130, 105, 75],
        np.array([27, 26, 24, 22, 20, 20, 20, 19, 18, 17, 15, 14, 14, 14, 14, 15]) * wide * rng.uniform(0.85, 1.15, 16),
    )
    axis[:, :3] += follow[:, None] * s + rng.normal(0, 7, (16, 3))
    whole = spline(axis, 11)
    # Content changes along the way; pieces overlap by one sample so that no wall parts them.
    for n, (a, b) in enumerate(pairwise(np.linspace(0, len(whole) - 1, 8).astype(int))):
        gas, stool = 0.65 if 2 <= n <= 4 else 0.3, 0.5 if n < 2 else 0.25
        kind = str(rng.choice(["gas", "stool", "contrast"], p=[gas, stool, 1 - gas - stool]))
        _loop(site, whole[a : b + 1], rng, kind, contrast, haustra=4.0)


def _duodenum(site: Site, contrast: float | None) -> None:
    """Around the head of the pancreas."""
    rng = site.subject.rng("duodenum")
    axis = tube_points(
        [180, 160, 152, 152, 172, 212, 232],
        [214, 205, 188, 182, 184, 184, 192],
        [316, 312, 290, 258, 244, 246, 272],
        rng.uniform(9, 12.5, 7),
    )
    axis[:, :3] += site.shift + rng.normal(0, 3, (7, 3))
    kind = str(rng.choice(["contrast", "fluid", "gas"], p=[0.5, 0.4, 0.1]))
    _loop(site, spline(axis, 9), rng, kind, contrast)
