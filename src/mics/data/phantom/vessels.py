"""Aorta, inferior vena cava, portal and splenic vein, and the smaller vessels that carry no label."""

from __future__ import annotations

import numpy as np

from mics import organs
from mics.data.phantom.site import Site, tube_points
from mics.data.phantom.torso import MIDLINE, vertebra_front


def great_vessels(site: Site) -> None:
    """Aorta and cava along the spine, their forks into the pelvis, the trunks that leave the aorta."""
    rng, t, s = site.subject.rng("great vessels"), site.tissues, site.shift
    width, sway, fork = np.exp(rng.normal(0, 0.14)), rng.normal(0, 6), float(rng.normal(224, 13)) + 0.4 * s[2]
    cava_width, cava_sway = np.exp(rng.normal(0, 0.15)), rng.normal(0, 8)
    heights = np.array([540, 450, 400, 350, 300, 250, fork])
    spine = np.array([vertebra_front(h) for h in heights])
    x = np.array([220, 217, 212, 208, 207, 205, 199]) + sway * np.array([0, 0, 0.3, 1, 1, 1, 0.7])
    radius = np.array([13, 13, 12.5, 11.5, 10.5, 9, 8.5]) * width
    aorta = tube_points(x, spine + (13, 10, 9, 13, 14, 16, 16), heights, radius)
    low = [vertebra_front(h) for h in (fork, 260, 300, 340)]
    cava = tube_points(
        [174, 178, 178, 176, 178, 181, 182] + cava_sway * np.array([1, 1, 0.8, 0.6, 0.2, 0, 0]),
        [low[0] + 10, low[1] + 13, low[2] + 16, low[3] + 26, 170 + 0.6 * s[1], 176 + 0.6 * s[1], 182 + s[1]],
        [fork - 6, 260, 300, 340, 380 + 0.6 * s[2], 412 + 0.7 * s[2], 436 + 0.8 * s[2]],
        np.array([9.5, 10.5, 11.5, 12, 11.5, 12.5, 13]) * cava_width,
    )
    for side in (-1, 1):
        # From the fork to the groin; painted first, so that aorta and cava end in front of them.
        iliac = tube_points(
            [aorta[-1, 0], *(MIDLINE + side * np.array([26, 52, 78, 84]))],
            [aorta[-1, 1], vertebra_front(180) + 14, 150, 175, 205],
            [fork - 6, min(180, fork - 20), 130, 60, 5],
            [6, 5.5, 5.5, 5, 5],
        )
        site.tube(iliac + (-side * 3, -10, 4, 1.5), t["vein"])
        site.tube(iliac, t["blood"])
    site.tube(cava, t["vein"], organs.INFERIOR_VENA_CAVA)
    site.tube(aorta, t["blood"], organs.AORTA, 1.5)
    root = np.array([205 + sway, vertebra_front(300) + 21, 312 + 0.5 * s[2]])
    mesenteric = tube_points(
        [root[0], 203, 200, 188], root[1] + np.array([0, 22, 30, 34]), root[2] - (0, 14, 60, 120), [4, 4, 3.6, 2.8]
    )
    site.tube(mesenteric, t["blood"], None, 2.5)
    celiac = root + (0, -2, 18)
    for tip in ((278, 150, 345), (160, 196, 335)):
        end = np.array(tip) + site.retro
        bend = (celiac + end) / 2 + (0, 12, 8)
        site.tube(np.stack([(*celiac, 3.6), (*(celiac + (0, 22, 2)), 3.2), (*bend, 2.6), (*end, 2.2)]), t["blood"])


def portal_and_splenic_vein(site: Site) -> None:
    """The splenic vein behind the pancreas, the confluence, the portal vein to the liver and its first branches."""
    rng, hu = site.subject.rng("portal"), site.tissues["portal"]
    width = np.exp(rng.normal(0.08, 0.14))
    behind = site.pancreas[:, :3] + (0, -7, 3)
    neck = int(0.45 * len(behind))
    join = behind[neck]
    hilum = np.array([158, 188, 346]) + site.shift + rng.normal(0, (5, 4, 4))
    root = join + (-2, -2, -16)
    stem = np.stack([(*root, 5), (*(join + (-4, 8, -60)), 5), (*(join + (-14, 14, -120)), 4)])
    site.tube(stem, hu)
    splenic = [(*p, 5.0 * width) for p in behind[neck + 3 :: 3]][::-1]
    portal = [(*join, 7), (*((join + hilum) / 2 + (2, -3, 2)), 7.5), (*hilum, 7.5), (*(hilum + (-26, -4, 6)), 5)]
    site.tube(np.stack([*splenic, *((*p[:3], p[3] * width) for p in portal)]), hu, organs.PORTAL_AND_SPLENIC_VEIN)
    left = np.stack([(*hilum, 6), (*(hilum + (14, 18, 10)), 5), (*(hilum + (30, 30, 14)), 4)])
    site.tube(left * (1, 1, 1, width), hu, organs.PORTAL_AND_SPLENIC_VEIN)
    site.tube(np.stack([(*root, 5.5 * width), (*join, 6.5 * width)]), hu, organs.PORTAL_AND_SPLENIC_VEIN)


def mesentery(site: Site) -> None:
    """Small vessels that fan out from the root of the mesentery."""
    rng = site.subject.rng("mesentery")
    for _ in range(30):
        root = np.array([198, 190, 285 + 0.6 * site.shift[2]]) + rng.normal(0, (8, 4, 20))
        tip = np.array([rng.uniform(110, 290), rng.uniform(185, 245), rng.uniform(80, 290)])
        bend = (root + tip) / 2 + rng.normal(0, 12, 3)
        site.tube(np.stack([(*root, 2.6), (*bend, 2.2), (*tip, 1.4)]), site.tissues["vein"])
