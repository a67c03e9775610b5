"""Solid organs: liver, spleen, kidneys, pancreas, adrenal glands.

Places and sizes are population means and spreads in the frame of `subject`.
"""

from __future__ import annotations

import numpy as np

from mics import organs
from mics.data.phantom.shapes import FAR, Array, ellipsoid, rotated, smooth_intersection, smooth_union
from mics.data.phantom.site import Site, local, tube_points
from mics.data.phantom.torso import MIDLINE, vertebra_front


def liver(site: Site) -> None:
    """The right lobe fills the right dome; a wedge crosses to the left; kidney, gland and spine leave their marks."""
    rng, s = site.subject.rng("liver"), site.shift
    size = np.exp(rng.normal(0, 0.06, 3))
    bottom, slope, reach = rng.normal(246, 19), float(rng.normal(0.68, 0.09)), float(rng.normal(66, 16))
    rotation = (float(rng.normal(0, 8)), float(rng.normal(-8, 5)), float(rng.normal(0, 8)))
    left_depth, left_height, cleft = float(rng.normal(46, 5)), float(rng.normal(38, 5)), float(rng.uniform(6, 14))
    box = site.canvas.box(np.array((40, 70, 190)) + s, np.array((290, 290, 440)) + s)
    if box is None:
        return
    x, y, z = local(site.canvas, box, s)
    middle, half = (bottom + 446) / 2, (446 - bottom) / 2
    right = ellipsoid(x, y, z, (122, 186, middle), (92 * size[0], 106 * size[1], half))
    # The visceral face rises from the right lower tip to the left and to the front.
    face = (float(bottom) - 18 + slope * (x - 70) + 0.12 * (y - 180) - z) / 1.2
    right = smooth_intersection(right, face, 25)
    left = ellipsoid(
        *rotated(x, y, z, (190, 218, 365), rotation), (186, 216, 366), (reach + 12, left_depth, left_height)
    )
    d = smooth_union(smooth_union(right, left, 22), ellipsoid(x, y, z, (176, 182, 358), (18, 20, 30)), 12)
    kidney = site.kidneys[organs.RIGHT_KIDNEY] - s
    hollows: list[tuple[Array, float]] = [
        (np.hypot((x - 186) * 0.9, (z - 318) * 0.6 + (y - 235) * 0.3) - cleft, 10),
        (ellipsoid(x, y, z, (kidney[0] + 10, kidney[1] - 14, kidney[2] - 8), (42, 52, 74)), 16),
        (ellipsoid(x, y, z, (166, 142, 340), (22, 24, 36)), 10),
        (np.hypot(x + float(s[0]) - MIDLINE, y + float(s[1]) - site.torso.spine_front[box] + 14) - 46, 8),
    ]
    for hollow, width in hollows:
        d = smooth_intersection(d, -hollow, width)
    site.place(box, site.confined(box, d, 0.5), site.tissues["liver"], organs.LIVER)
    _liver_vessels(site, rng)


def _liver_vessels(site: Site, rng: np.random.Generator) -> None:
    """Hepatic veins towards the cava under the diaphragm, portal branches from the hilum."""
    cava, hilum = np.array([178, 172, 398]) + site.shift, np.array([160, 190, 345]) + site.shift
    veins = ((80, 165, 350), (118, 222, 350), (205, 222, 372), (95, 140, 375))
    branches = ((88, 150, 318), (95, 212, 325), (198, 226, 362), (100, 175, 378))
    for start, tips, name in ((cava, veins, "vein"), (hilum, branches, "portal")):
        for mean in tips:
            tip = np.array(mean) + site.shift + rng.normal(0, 10, 3)
            bend = (start + tip) / 2 + rng.normal(0, 9, 3)
            trunk = np.stack([(*start, 5.5), (*bend, 4.0), (*tip, 1.8)])
            site.vessel_inside(organs.LIVER, trunk, site.tissues[name])
            for _ in range(2):
                end = tip + rng.normal(0, 24, 3)
                half = (bend + end) / 2 + rng.normal(0, 5, 3)
                twig = np.stack([(*bend, 3.0), (*half, 2.3), (*end, 1.2)])
                site.vessel_inside(organs.LIVER, twig, site.tissues[name])


def spleen(site: Site) -> None:
    """A crescent against the left wall and diaphragm, hollow towards the stomach."""
    rng, c = site.subject.rng("spleen"), site.canvas
    centre = np.array([303, 131, 347]) + site.shift * (1, 1, 0.8) + rng.normal(0, (4, 7, 12))
    size = float(np.exp(rng.normal(0.05, 0.15))) * (1.5 if rng.random() < 0.07 else 1.0)
    rotation = (float(rng.normal(-28, 10)), float(rng.normal(8, 8)), float(rng.normal(-14, 10)))
    box = c.box(centre - 75 * size, centre + 75 * size)
    if box is None:
        return
    u, v, w = rotated(*c.at(box), tuple(centre), rotation)
    d = ellipsoid(u, v, w, centre, (40 * size, 56 * size, 62 * size))
    hilum = ellipsoid(u, v, w, centre + (-44 * size, 20 * size, 0), (42 * size, 44 * size, 60 * size))
    d = site.confined(box, smooth_intersection(d, -hilum, 10), 0.5)
    hu: Array | float = site.tissues["spleen"]
    if site.subject.phase == "arterial":  # the moiré of early enhancement
        hu = hu + 22 * site.texture("moire", box, 9)
    site.place(box, d, hu, organs.SPLEEN, site.gap)


def kidneys(site: Site) -> None:
    """Each with cortex, medulla, a sinus of fat and a renal vein, in a capsule of fat."""
    c, t = site.canvas, site.tissues
    shared = site.subject.rng("kidneys").normal(0, 0.09)
    for label, side in ((organs.RIGHT_KIDNEY, -1), (organs.LEFT_KIDNEY, 1)):
        rng, centre = site.subject.rng(f"kidney {label}"), site.kidneys[label]
        size = float(np.exp(shared + rng.normal(0, 0.05)))
        # Upper poles lean to the spine and back, the hilum looks inwards and a little forwards.
        rotation = (float(rng.normal(14, 6)), side * float(rng.normal(12, 5)), side * float(rng.normal(-32, 10)))
        p, q, r, s = (float(v) for v in rng.uniform(0, 6, 4))
        front = vertebra_front(centre[2])
        renal = tube_points(
            [centre[0] - side * 22, MIDLINE + side * 26, MIDLINE + side * 8],
            [centre[1] + 8, front + 8, front + 14],
            centre[2] + np.array([4, 10, 12]),
            [4, 4.5, 5],
        )
        box = c.box(centre - 75, centre + 75)
        if box is None:
            continue
        u, v, w = rotated(*c.at(box), tuple(centre), rotation)
        d = ellipsoid(u, v, w, centre, (25.5 * size, 30.5 * size, 55 * size))
        d = d + np.float32(1.2) * np.sin(w / 11 + p) * np.sin(v / 9 + q)
        hilum = ellipsoid(u, v, w, centre - (side * 27 * size, 0, 0), (22 * size, 10 * size, 20 * size))
        d = smooth_intersection(d, -hilum, 6)
        c.paint(box, np.maximum(d - 1.5 - 2 * site.gap, site.torso.wall[box]), t["fat"], 0)
        pyramids = np.sin(w / 5.2 + r) * np.cos(v / 5.0 + s)
        c.paint(box, d, np.where(-d / size < 6.5 + 2.5 * pyramids, t["cortex"], t["medulla"]), label)
        sinus = ellipsoid(u, v, w, centre - (side * 10 * size, 0, 0), (10 * size, 8.5 * size, 22 * size))
        c.paint(box, np.maximum(sinus, d), -60.0)
        c.paint(box, ellipsoid(u, v, w, centre - (side * 14 * size, 0, 2), (9, 4.5, 7)), 15.0)
        site.tube(renal, t["vein"])


def pancreas(site: Site) -> None:
    """A lobulated tube from the duodenum to the splenic hilum, more furrowed with more fat."""
    c, axis, fat = site.canvas, site.pancreas, site.subject.visceral_fat
    box = c.box(axis[:, :3].min(0) - 20, axis[:, :3].max(0) + 20)
    if box is None:
        return
    d, _ = c.tube(box, axis[:, :3], axis[:, 3])
    x, y, z = c.at(box)
    lobes = np.sin(x / 3.1) * np.sin(y / 3.3 + 1) * np.sin(z / 3.2 + 2)
    d = np.asarray(d + (1.0 + 1.2 * fat) * lobes, np.float32)
    hu = site.tissues["pancreas"] - 30 * fat * (0.4 + 0.6 * np.abs(lobes))
    site.place(box, d, hu, organs.PANCREAS, site.gap + 1)


def adrenals(site: Site) -> None:
    """An inverted Y in each slice; the inner limb ends before the top."""
    c = site.canvas
    for label, mean, side in ((organs.RIGHT_ADRENAL, (169, 146, 341), -1), (organs.LEFT_ADRENAL, (233, 156, 331), 1)):
        rng = site.subject.rng(f"adrenal {label}")
        centre = np.array(mean) + site.retro * (0.5, 0.6, 0.9) + rng.normal(0, (4, 5, 6))
        centre[1] = max(centre[1], vertebra_front(centre[2]) + 1)
        thick = 3.0 * float(np.exp(rng.normal(0, 0.15)))
        box = c.box(centre - 30, centre + 30)
        if box is None:
            continue
        d = np.full(c.x[box].shape, FAR)
        for height in np.linspace(-15, 15, 9):
            o = centre + (0, -0.15 * height, height)
            reach = 1.0 - 0.02 * (height + 15)
            limbs = [((0, 7), (0, 2)), ((0, 2), (-side * 3, -14))]
            if height < 7:
                limbs.append(((0, 2), (side * 9, -12)))
            for (ax, ay), (bx, by) in limbs:
                ends = [o + (ax * reach, ay * reach, 0), o + (bx * reach, by * reach, 0)]
                d = np.minimum(d, c.tube(box, ends, [thick, 0.85 * thick])[0])
        site.place(box, d, site.tissues["adrenal"], label, 2.0)
