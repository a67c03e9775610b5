"""The plane between a patient's left and right half, about which the skeleton is most nearly its own mirror image.

Organs lie on one side or the other and the skin sinks in where a patient lies on it, so neither tells how a patient lies; bones
come in pairs. Symmetry planes of heads by the correlation of an image with its mirror image: Ardekani et al. 1997 ("Automatic
detection of the mid-sagittal plane in 3-D brain images", IEEE Trans. Med. Imaging 16).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from mics.image.io import Image
from mics.registration.coarse import Coarse, coarse
from mics.registration.pair import Pair
from mics.threads import side_by_side

SPACING_MM = 8.0
"""Of the scans that it is looked for in."""
_SOFT_HU, _BONE_HU = 120.0, 270.0
"""Where bone begins to count in voxels of 8 mm, and where it counts wholly."""
_LEAST = 0.1
_EVERY, _MOST = 4, 5000
"""Of the voxels with bone, one in so many is compared, and about so many at most: of what is no patient, all may be bone."""
_MIN_ML = 100.0
_MAX_ROLL, _MAX_YAW, _ROLL_STEP = 45, 15, 5
_MAX_ASIDE, _ASIDE_STEP = 40, 10
"""Degrees about the body's axis and about the front-back one, and mm from the middle of the bones; where the search begins."""
_FIRST_STEPS = (4.0, 4.0, 8.0)
"""Degrees of roll and of yaw, and mm, of the descents from each roll that is better than those beside it."""
_MIN_CORRELATION, _MIN_SEEN = 0.5, 0.5
"""Of bones with the opposite ones; .63 to .99 in scans of abdomens. Of the bones, those whose opposite side was scanned: beside
the edge of a scan, the little that is left is like itself."""
_PRIOR, _USUAL = 0.1, (30.0, 6.0)
"""Correlation by which a patient must fit better who lies rolled, or turned, by so many degrees."""
_OTHER_ROLL, _CLEARLY = 20.0, 0.1
"""Degrees from which on another roll is another, and by how much it must fit worse: of a spine alone, any roll fits."""
_CLEARLY_Z = 0.4
"""The same without what is usual, which alone is not to tell, in Fisher's z: .99 is as far from .98 as .6 is from .33."""
_OTHER_END, _BARELY = 8.0, 0.03
"""Degrees from which on the end of another descent is another, and by how much it must fit worse: one arm beside the body."""

Direction = NDArray[np.float64]
LEFT: Direction = np.array([1.0, 0.0, 0.0])
"""Of a patient who lies as the header says."""
UNKNOWN: Pair[Direction | None] = Pair(fixed=None, moving=None)
"""Which way is left in two patients of whom nothing tells it."""


def lefts_of(scans: Pair[Image]) -> Pair[Direction | None]:
    """:func:`sagittal_normal` of either of two scans of any geometry."""
    fixed, moving = side_by_side(lambda scan: sagittal_normal(coarse(scan, SPACING_MM)), (scans.fixed, scans.moving))
    return Pair(fixed=fixed, moving=moving)


def sagittal_normal(scan: Coarse) -> Direction | None:
    """Which way a patient's left is.

    Args:
        scan: Of :data:`SPACING_MM`.

    Returns:
        (3,), the unit normal in LPS of the plane about which the bones are most nearly symmetric, within 45 degrees of roll; None
        where there are few bones, or they fit their mirror image badly or in several ways, or less than half of them were
        scanned on both sides.
    """
    bones = _Bones(scan)
    if bones.ml < _MIN_ML:
        return None
    # All that there are: who lies on one side is not to be taken for one who does not.
    rolls = np.arange(-90.0, 90.0, _ROLL_STEP)
    shifts = np.arange(-_MAX_ASIDE, _MAX_ASIDE + 1.0, _ASIDE_STEP)
    starts = [max((np.array([roll, 0, aside]) for aside in shifts), key=bones.correlation) for roll in rolls]
    heights = [bones.likelihood(start) for start in starts]
    inner = [n for n, roll in enumerate(rolls) if abs(roll) <= _MAX_ROLL]
    peaks = [n for n in inner if heights[n] >= max(heights[n - 1], heights[n + 1])]
    if not peaks:
        return None
    ends = [_descended(bones.likelihood, starts[n]) for n in peaks]
    likeliest = max(ends, key=bones.likelihood)
    rivals = [end for end in ends if abs(end[0] - likeliest[0]) >= _OTHER_END]
    found = _descended(bones.correlation, likeliest)
    fits, best = bones.correlation(found), bones.likelihood(likeliest)
    unlike, far = ([starts[n] for n in inner if abs(rolls[n] - one[0]) >= _OTHER_ROLL] for one in (likeliest, found))
    clear = (
        fits >= max(_MIN_CORRELATION, *map(bones.correlation, starts))
        and abs(found[0]) <= _MAX_ROLL
        and abs(found[1]) <= _MAX_YAW
        and best >= max(map(bones.likelihood, unlike)) + _CLEARLY
        and best >= max(map(bones.likelihood, rivals), default=-np.inf) + _BARELY
        and _z(fits) >= max(_z(bones.correlation(start)) for start in far) + _CLEARLY_Z
    )
    return _normal(found) if clear else None


def _z(correlation: float) -> float:
    """Fisher's, in which correlations near one are as far apart as others."""
    return float(np.arctanh(min(correlation, 0.9999)))


def _descended(height: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plane at the top of ``height`` that is reached from ``start``."""
    found: NDArray[np.float64] = minimize(
        lambda plane: -height(plane),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": np.vstack([start, start + np.diag(_FIRST_STEPS)]), "xatol": 0.05, "fatol": 1e-6},
    ).x
    return found


class _Bones:
    """How dense a coarse scan is with bone, and how well that fits its mirror image."""

    def __init__(self, scan: Coarse) -> None:
        share = ((scan.image.array - _SOFT_HU) / (_BONE_HU - _SOFT_HU)).clip(0, 1) * scan.body
        self.grid = scan.image.grid
        self.ml = float(share.sum()) * float(np.prod(self.grid.spacing)) / 1000
        self.share = ndimage.gaussian_filter(share, 1.0)
        self.in_view = scan.in_view.astype(np.float64)
        bony = np.argwhere(self.share > _LEAST)
        voxels = bony[:: max(_EVERY, len(bony) // _MOST)]
        self.values = self.share[tuple(voxels.T)]
        self.places = self.grid.voxel_to_world(voxels)
        self.centre = self.places.mean(axis=0) if len(voxels) else self.grid.centre

    def likelihood(self, plane: NDArray[np.float64]) -> float:
        """:meth:`correlation`, the less the further from how patients lie; none beyond the rolls that are looked for."""
        fits = self.correlation(plane) if abs(plane[0]) <= _MAX_ROLL else 0.0
        return fits - _PRIOR * float(((plane[:2] / _USUAL) ** 2).sum())

    def correlation(self, plane: NDArray[np.float64]) -> float:
        """Of the bones with what lies opposite, where that was scanned; none where that is less than half of them.

        ``plane``: degrees of roll and of yaw, and mm from the middle of the bones.
        """
        normal = _normal(plane)
        aside = (self.places - self.centre) @ normal - plane[2]
        opposite = self.grid.world_to_voxel(self.places - 2 * aside[:, None] * normal).T
        share, seen = (ndimage.map_coordinates(volume, opposite, order=1) for volume in (self.share, self.in_view))
        own, other = seen @ self.values**2, seen @ share**2
        if other == 0 or own < _MIN_SEEN * (self.values @ self.values):
            return 0.0
        return float((seen * self.values) @ share / np.sqrt(own * other))


def _normal(plane: NDArray[np.float64]) -> Direction:
    turned: Direction = Rotation.from_euler("zy", plane[:2], degrees=True).apply(LEFT)
    return turned
