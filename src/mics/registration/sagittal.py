"""The plane between a patient's left and right half, about which the skeleton is most nearly its own mirror image.

Organs lie on one side or the other and the skin sinks in where a patient lies on it, so neither tells how a patient lies; bones
come in pairs. Symmetry planes of heads by the correlation of an image with its mirror image: Ardekani et al. 1997 ("Automatic
detection of the mid-sagittal plane in 3-D brain images", IEEE Trans. Med. Imaging 16).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import OptimizeResult, minimize
from scipy.spatial.transform import Rotation

from mics.registration.coarse import Coarse
from mics.registration.pair import Pair
from mics.threads import side_by_side

SPACING_MM = 8.0
"""Of the scans that it is looked for in."""
_SOFT_HU, _BONE_HU = 120.0, 270.0
"""Where bone begins to count in voxels of 8 mm, and where it counts wholly."""
_LEAST = 0.1
_EVERY = 4
"""Of the voxels with bone, one in so many is compared."""
_MIN_ML = 100.0
_MAX_ROLL, _ROLL_STEP = 45, 5
_MAX_ASIDE, _ASIDE_STEP = 40, 10
"""Degrees about the body's axis, and mm from the middle of the bones, at which the search begins."""
_FIRST_STEPS = (4.0, 4.0, 8.0)
"""Degrees of roll and of yaw, and mm, of the descents from each roll that is better than those beside it."""
_MIN_CORRELATION = 0.5
"""Of bones with the opposite ones; .63 to .98 in scans of abdomens."""
_PRIOR, _USUAL = 0.1, (30.0, 6.0)
"""Correlation by which a patient must fit better who lies rolled, or turned, by so many degrees."""
_OTHER_ROLL, _CLEARLY = 20.0, 0.1
"""Degrees from which on another roll is another, and by how much it must fit worse: of a spine alone, any roll fits."""

Direction = NDArray[np.float64]
LEFT: Direction = np.array([1.0, 0.0, 0.0])
"""Of a patient who lies as the header says."""


def sagittal_normals(scans: Pair[Coarse]) -> Pair[Direction | None]:
    """:func:`sagittal_normal` of either of two scans."""
    fixed, moving = side_by_side(sagittal_normal, (scans.fixed, scans.moving))
    return Pair(fixed=fixed, moving=moving)


def sagittal_normal(scan: Coarse) -> Direction | None:
    """Which way a patient's left is.

    Args:
        scan: Of :data:`SPACING_MM`.

    Returns:
        (3,), the unit normal in LPS of the plane about which the bones are most nearly symmetric, within 45 degrees of roll; None
        where there are few bones, or they fit their mirror image badly or in several ways.
    """
    bones = _Bones(scan)
    if bones.ml < _MIN_ML:
        return None
    rolls = np.arange(-_MAX_ROLL, _MAX_ROLL + 1.0, _ROLL_STEP)
    shifts = np.arange(-_MAX_ASIDE, _MAX_ASIDE + 1.0, _ASIDE_STEP)
    starts = [max((np.array([roll, 0, aside]) for aside in shifts), key=bones.likelihood) for roll in rolls]
    heights = [bones.likelihood(start) for start in starts]
    peaks = [n for n in range(1, len(rolls) - 1) if heights[n] >= max(heights[n - 1], heights[n + 1])]
    if not peaks:
        return None
    best = min((_descended(bones, starts[n]) for n in peaks), key=lambda found: float(found.fun))
    others = [height for roll, height in zip(rolls, heights, strict=True) if abs(roll - best.x[0]) >= _OTHER_ROLL]
    clear = -best.fun >= max(others) + _CLEARLY and bones.correlation(best.x) >= _MIN_CORRELATION
    return _normal(best.x) if clear else None


def _descended(bones: "_Bones", start: NDArray[np.float64]) -> OptimizeResult:
    return minimize(
        lambda plane: -bones.likelihood(plane),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": np.vstack([start, start + np.diag(_FIRST_STEPS)]), "xatol": 0.05, "fatol": 1e-6},
    )


class _Bones:
    """How dense a coarse scan is with bone, and how well that fits its mirror image."""

    def __init__(self, scan: Coarse) -> None:
        share = ((scan.image.array - _SOFT_HU) / (_BONE_HU - _SOFT_HU)).clip(0, 1) * scan.body
        self.grid = scan.image.grid
        self.ml = float(share.sum()) * float(np.prod(self.grid.spacing)) / 1000
        self.share = ndimage.gaussian_filter(share, 1.0)
        self.in_view = scan.in_view.astype(np.float64)
        voxels = np.argwhere(self.share > _LEAST)[::_EVERY]
        self.values = self.share[tuple(voxels.T)]
        self.places = self.grid.voxel_to_world(voxels)
        self.centre = self.places.mean(axis=0) if len(voxels) else self.grid.centre

    def likelihood(self, plane: NDArray[np.float64]) -> float:
        """:meth:`correlation`, the less the further from how patients lie."""
        return self.correlation(plane) - _PRIOR * float(((plane[:2] / _USUAL) ** 2).sum())

    def correlation(self, plane: NDArray[np.float64]) -> float:
        """Of the bones with what lies opposite, where that was scanned.

        ``plane``: degrees of roll and of yaw, and mm from the middle of the bones.
        """
        if abs(plane[0]) > _MAX_ROLL:
            return 0.0
        normal = _normal(plane)
        aside = (self.places - self.centre) @ normal - plane[2]
        opposite = self.grid.world_to_voxel(self.places - 2 * aside[:, None] * normal).T
        share, seen = (ndimage.map_coordinates(volume, opposite, order=1) for volume in (self.share, self.in_view))
        norms = (seen @ self.values**2) * (seen @ share**2)
        return float((seen * self.values) @ share / np.sqrt(norms)) if norms > 0 else 0.0


def _normal(plane: NDArray[np.float64]) -> Direction:
    turned: Direction = Rotation.from_euler("zy", plane[:2], degrees=True).apply(LEFT)
    return turned
