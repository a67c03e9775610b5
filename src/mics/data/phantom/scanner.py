"""What a scanner adds to a subject: grid, pose on the table, field of view, the table, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mics.data.phantom.intensities import AIR, correlated_noise
from mics.data.phantom.subject import CENTRE, EXTENT
from mics.image.grid import NETWORK_ORIENTATION, Grid

# LPS world (left, back, head) to the reference anatomy's axes (left, front, head).
_TO_REFERENCE = np.array([[1.0, 0, 0, CENTRE[0]], [0, -1, 0, CENTRE[1]], [0, 0, 1, CENTRE[2]], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Scanner:
    """Settings of a scanner that takes one volume.

    `pose` (4, 4): LPS mm of the scan's world to LPS mm of a subject who lies straight with the middle of the abdomen at
    the origin; scale included (a larger subject has a scale below one).  `heights`: the stretch in view, mm in the
    reference anatomy.  `circle`: centre x, y and radius of the field of view there.  `table`: y of its top, there.
    Outside the field of view there is air and no label.
    """

    grid: Grid
    pose: NDArray[np.float64]
    noise_hu: float
    seed: int
    heights: tuple[float, float] = (-np.inf, np.inf)
    circle: tuple[float, float, float] = (CENTRE[0], CENTRE[1], np.inf)
    table: float | None = None

    @property
    def to_reference(self) -> NDArray[np.float64]:
        """LPS mm of the scan's world to mm in the reference anatomy, (4, 4)."""
        return np.asarray(_TO_REFERENCE @ self.pose)

    def in_view(self, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which points are in the field of view.

        Args:
            x: Of each point, mm in the reference anatomy, towards the left.
            y: Likewise, towards the front.
            z: Likewise, towards the head.

        Returns:
            A mask of their shape.
        """
        radial = (x - self.circle[0]) ** 2 + (y - self.circle[1]) ** 2 <= self.circle[2] ** 2
        return np.asarray(radial & (z >= self.heights[0]) & (z <= self.heights[1]))

    def acquire(self, hu: NDArray[np.float32], points: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Add what the scanner adds: table, noise correlated over about a millimetre and a half, field of view.

        Args:
            hu: The subject, (X, Y, Z) HU on the scanner's grid.
            points: Where its voxels lie, mm in the reference anatomy: x, y and z as of :meth:`in_view`, (X, Y, Z) each.

        Returns:
            (X, Y, Z) float32, whole HU from -1024 to 3071, the same at every call.
        """
        rng = np.random.default_rng([self.seed, 1])
        x, y, z = points
        if self.table is not None:
            bow = self.table - 330 + np.sqrt(np.maximum(330.0**2 - (x - CENTRE[0]) ** 2, 0))
            bow = self.table + (self.table - bow) * 0.9  # the table is a trough: its sides rise
            shell = np.minimum(np.abs(y - bow), np.abs(y - bow + 28)) < max(1.2, 0.4 * max(self.grid.spacing))
            hu = np.where(shell & (np.abs(x - CENTRE[0]) < 195) & (hu < -950), rng.uniform(-110, 60), hu)
        sigma = tuple(max(0.3, 0.9 / s) for s in self.grid.spacing)
        hu = hu + self.noise_hu * correlated_noise(rng, hu.shape, sigma)
        hu = np.where(self.in_view(x, y, z), hu, AIR)
        return np.clip(np.rint(hu), -1024, 3071).astype(np.float32)


def plain_scanner(grid: Grid, seed: int) -> Scanner:
    """The whole of a grid in view, the subject straight at the world's origin, the scanner's noise drawn.

    Args:
        grid: What is scanned.
        seed: Of the noise.

    Returns:
        The scanner.
    """
    rng = np.random.default_rng([seed, 2])
    return Scanner(grid, np.eye(4), float(rng.uniform(4, 12)), seed)


def network_grid(spacing_mm: float = 4.0) -> Grid:
    """The network's grid (LAS): 384 x 320 x 512 mm about the world's origin.

    Args:
        spacing_mm: Voxel edge.

    Returns:
        The grid, of 96 x 80 x 128 voxels at 4 mm.
    """
    half = [(round(e / spacing_mm) - 1) * spacing_mm / 2 for e in EXTENT]
    return Grid.axis_aligned([-h for h in half], half, spacing_mm, NETWORK_ORIENTATION)


def network_scanner(seed: int, spacing_mm: float = 4.0) -> Scanner:
    """Fields of view as affine registration to one subject leaves them: all end near the heart, some above the hips.

    Args:
        seed: By which field of view, table and noise are drawn.
        spacing_mm: Voxel edge of the network's grid.

    Returns:
        The scanner, on :func:`network_grid`.
    """
    rng = np.random.default_rng([seed, 3])
    lowest = -np.inf if rng.random() < 0.6 else float(rng.uniform(0, 90))
    highest = float(np.clip(rng.normal(451, 7), 436, 500))
    radius = float(rng.uniform(195, 300))
    circle = (CENTRE[0] + float(rng.normal(0, 8)), CENTRE[1] + float(rng.normal(0, 10)), radius)
    table = float(rng.normal(12, 8)) if rng.random() < 0.8 else None
    noise = float(rng.uniform(4, 12))
    return Scanner(network_grid(spacing_mm), np.eye(4), noise, seed, (lowest, highest), circle, table)


def hospital_scanner(seed: int, pixels: int = 160) -> Scanner:
    """A scan as a hospital exports it: 2.5 to 5 mm slices, any origin, axes of several orientations, sometimes tilted.

    The subject's size (0.88 to 1.12), place on the table and small rotation are part of it.

    Args:
        seed: By which all of it is drawn.
        pixels: Of a slice, along either edge.

    Returns:
        The scanner.
    """
    rng = np.random.default_rng([seed, 4])
    width = float(rng.uniform(380, 450))
    pixel, slice_mm = width / pixels, float(rng.choice([2.5, 3.0, 4.0, 5.0]))
    low, high = float(rng.uniform(0, 110)), float(rng.uniform(425, 480))
    scale = float(np.clip(rng.normal(1, 0.05), 0.88, 1.12))
    rotation = Rotation.from_euler("xyz", rng.normal(0, 2.5, 3), degrees=True).as_matrix()
    # p = pose(x): the subject's frame from the world's, about the scan's own centre.
    centre_world = np.array([rng.normal(0, 15), rng.uniform(-200, 50), rng.uniform(-900, 600)])
    centre_subject = np.array([rng.normal(0, 6), rng.normal(0, 8), (low + high) / 2 - CENTRE[2]])
    pose = np.eye(4)
    pose[:3, :3] = rotation / scale
    pose[:3, 3] = centre_subject - pose[:3, :3] @ centre_world
    slices = round((high - low) * scale / slice_mm)
    letters = str(rng.choice(["LPS", "LPS", "RAS", "LPI", "LAS"]))
    signs = np.array([1 if a in "LPS" else -1 for a in letters])
    axes = np.diag(signs).astype(float)
    if rng.random() < 0.3:  # gantry tilt, or a volume reformatted along the patient
        axes = Rotation.from_euler("x", rng.normal(0, 6), degrees=True).as_matrix() @ axes
    spacing, size = (pixel, pixel, slice_mm), (pixels, pixels, slices)
    origin = centre_world - axes @ ((np.array(size) - 1) / 2 * np.array(spacing))
    grid = Grid(size, spacing, tuple(float(v) for v in origin), tuple(float(v) for v in axes.ravel()))  # type: ignore[arg-type]
    circle = (CENTRE[0] + float(centre_subject[0]), CENTRE[1] - float(centre_subject[1]), 0.5 * width / scale)
    noise = float(rng.uniform(5, 14))
    return Scanner(grid, pose, noise, seed, circle=circle, table=float(rng.normal(10, 6)))
