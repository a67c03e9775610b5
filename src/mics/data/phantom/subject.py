"""One member of the family: the numbers that make a subject.

Reference anatomy: millimetres in a box of 384 x 320 x 512, x from the patient's right to left, y to the front, z to the
head; the centre of the box is the world's origin.  It is the frame that affine registration to one subject gives
(Learn2Reg AbdomenCTCT).  Means and spreads are rounded population statistics of 20 such adults (organ volumes, centres,
extents, HU; no shape of any of them is stored) and of anatomy textbooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Phase = Literal["native", "arterial", "portal"]
PHASES: tuple[Phase, ...] = ("native", "arterial", "portal")
CENTRE = (192.0, 160.0, 256.0)
"""Where the world's origin lies in the reference anatomy, mm."""
EXTENT = (384.0, 320.0, 512.0)


@dataclass(frozen=True)
class Subject:
    """Seeded traits; painters draw further details from `rng(topic)`, so that topics do not disturb each other."""

    seed: int
    phase: Phase
    fat: float
    """Thickness of subcutaneous fat relative to the mean adult (0.3 to 2.1)."""
    visceral_fat: float
    """0 (organs touch each other) to 1."""
    upper_shift: tuple[float, float, float]
    """Shift in mm of everything under the diaphragm against the spine (breathing, habitus)."""
    trunk_shift: tuple[float, float, float]
    """Place in mm of the whole trunk: what is left of it after affine registration to one subject."""
    depth: float
    """Scale of the trunk from back to front."""
    bone_density: float
    female: bool

    def rng(self, topic: str) -> np.random.Generator:
        """A generator of its own for each part of the body."""
        return np.random.default_rng([self.seed, *topic.encode()])


def draw_subject(seed: int, phase: Phase | None = None) -> Subject:
    """The subject with this seed; `phase` is drawn too (mostly portal venous, as in clinical abdominal CT) if None."""
    rng = np.random.default_rng([seed, 0])
    drawn = PHASES[int(rng.choice(3, p=[0.07, 0.13, 0.8]))]
    fat = float(np.clip(np.exp(rng.normal(0.05, 0.48)), 0.3, 2.1))
    return Subject(
        seed=seed,
        phase=phase or drawn,
        fat=fat,
        visceral_fat=float(np.clip(0.25 + 0.3 * fat + rng.normal(0, 0.15), 0.1, 1)),
        upper_shift=(float(rng.normal(0, 3)), float(rng.normal(0, 5)), float(rng.normal(0, 10))),
        trunk_shift=(float(rng.normal(0, 4)), float(rng.normal(1, 3)), float(rng.normal(0, 10))),
        depth=float(np.clip(rng.normal(1, 0.06), 0.86, 1.14)),
        bone_density=float(rng.uniform(0.7, 1.3)),
        female=bool(rng.random() < 0.5),
    )
