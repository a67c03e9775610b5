"""Hounsfield units of tissues in three contrast phases, and what the scanner adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.data.phantom.subject import Subject

AIR, FAT, LUNG, WATER = -1000.0, -103.0, -850.0, 8.0

# (native, arterial, portal venous): mean HU; portal from the medians of clinical scans, the others from textbooks.
_PHASES: dict[str, tuple[float, float, float]] = {
    "blood": (42, 250, 140),
    "vein": (40, 85, 120),
    "portal": (42, 125, 146),
    "liver": (57, 78, 106),
    "spleen": (48, 122, 118),
    "cortex": (33, 200, 168),
    "medulla": (30, 90, 135),
    "pancreas": (40, 105, 96),
    "adrenal": (38, 95, 90),
    "bowel wall": (40, 85, 78),
    "muscle": (52, 58, 60),
    "myocardium": (45, 115, 105),
    "bile": (13, 14, 16),
}
_INDEX = {"native": 0, "arterial": 1, "portal": 2}


class Tissues:
    """HU by tissue for one subject: phase means, a common factor for the dose of contrast, a little of its own each."""

    def __init__(self, subject: Subject) -> None:
        rng = subject.rng("tissues")
        k = _INDEX[subject.phase]
        dose = float(np.clip(rng.normal(1.15, 0.22), 0.65, 1.8))
        self._hu = {}
        for name, means in _PHASES.items():
            enhancement = (means[k] - means[0]) * dose
            self._hu[name] = means[0] + enhancement + float(rng.normal(0, 4 + 0.06 * abs(enhancement)))
        if rng.random() < 0.15:  # steatosis
            self._hu["liver"] -= float(rng.uniform(15, 45))
        self._hu["fat"] = FAT + float(rng.normal(0, 4))

    def __getitem__(self, name: str) -> float:
        return self._hu[name]


_LATTICE = 48


def texture(rng: np.random.Generator, points: Sequence[NDArray[np.float32]], lattice_mm: float) -> NDArray[np.float32]:
    """Unit-variance noise that belongs to the tissue: the same at the same anatomical points on every grid.

    `points`: x, y, z in mm; one draw of a periodic lattice of 48 cubed, `lattice_mm` between its points.
    """
    lattice = rng.standard_normal((_LATTICE,) * 3, dtype=np.float32)
    where = np.stack([p / lattice_mm for p in points])
    value = ndimage.map_coordinates(lattice, where, order=1, mode="grid-wrap", output=np.float32)
    return np.asarray(value * np.float32(1.8), np.float32)  # linear interpolation takes variance away


def correlated_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: float | tuple[float, ...]
) -> NDArray[np.float32]:
    """Gaussian noise of unit variance, smoothed over `sigma_voxels`."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma_voxels, mode="wrap", truncate=2.5)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)
