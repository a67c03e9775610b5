"""Smooth random diffeomorphisms of world space, on a coarse lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SQUARINGS = 6


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A displacement u(p) in mm on a lattice: p -> p + u(p), a diffeomorphism.

    `values` (3, A, B, C); lattice point (a, b, c) lies at `origin` + `spacing` * (a, b, c), in the frame of the points
    given to `at`.  Outside the lattice the border's displacement goes on.
    """

    values: NDArray[np.float32]
    origin: tuple[float, float, float]
    spacing: float

    def at(self, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The three components of u, each of the points' shape, trilinear."""
        where = np.stack([(c - o) / self.spacing for c, o in zip((x, y, z), self.origin, strict=True)])
        return [
            ndimage.map_coordinates(v, where, order=1, mode="nearest", output=np.float32, prefilter=False)
            for v in self.values
        ]


def random_field(
    rng: np.random.Generator,
    lower: tuple[float, float, float],
    upper: tuple[float, float, float],
    scales: list[tuple[float, float]],
    spacing: float = 14.0,
) -> SmoothField:
    """A random diffeomorphism of the box, exp(v) by scaling and squaring.

    `scales`: (correlation length, standard deviation) in mm of the Gaussian random velocities that are added.
    """
    size = tuple(int(np.ceil((b - a) / spacing)) + 1 for a, b in zip(lower, upper, strict=True))
    velocity = np.zeros((3, *size), np.float32)
    for length, deviation in scales:
        for component in velocity:
            noise = ndimage.gaussian_filter(rng.standard_normal(size), length / spacing / np.sqrt(2), mode="wrap")
            component += (deviation * noise / noise.std()).astype(np.float32)
    return SmoothField(_exponential(velocity, spacing), lower, spacing)


def _exponential(velocity: NDArray[np.float32], spacing: float) -> NDArray[np.float32]:
    points = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in velocity.shape[1:]), indexing="ij"))
    u = velocity / (spacing * 2**SQUARINGS)
    for _ in range(SQUARINGS):
        u = u + np.stack([ndimage.map_coordinates(c, points + u, order=1, mode="nearest") for c in u])
    return np.asarray(u * spacing, np.float32)
