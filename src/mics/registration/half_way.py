"""The space half-way between two scans, in which networks and refinement see both: either bears half of the affine.

Exchanging the scans then exchanges what is seen there, and nothing else. In the fixed scan's own space the moving scan alone
would bear the affine, and with the scans exchanged the networks would see another pair. Half-way spaces: Smith et al. 2001
(SIENA, "Normalized accurate measurement of longitudinal brain change", J. Comput. Assist. Tomogr. 25) and Reuter et al. 2010
("Highly accurate inverse consistent registration: a robust approach", NeuroImage 53).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import polar, sqrtm
from scipy.spatial.transform import Rotation

from mics.registration.pair import Pair
from mics.registration.sagittal import LEFT, UNKNOWN, Direction

_MAX_TURN = np.radians(45) + 1e-6
"""Beyond it, one of the scans lies as the networks know none; half-way, both would. 45 degrees, to rounding, are within."""
_MIN_TURN = np.radians(3)
"""The networks notice no less, and most patients lie so: their scans are sampled along their own axes."""


def half_way(affine: NDArray[np.float64], lefts: Pair[Direction | None] = UNKNOWN) -> Pair[NDArray[np.float64]]:
    """What takes points of the half-way space to those of either scan.

    The moving scan's is the affine's principal square root, the fixed scan's the inverse of that. For an affine that mirrors, or
    turns by more than 45 degrees, the space is the fixed scan's own.

    Args:
        affine: (4, 4), from fixed to moving LPS points.
        lefts: Which way is left in either patient, (3,), by :func:`mics.registration.sagittal.sagittal_normal`; None where that
            is not known. Where their mean is more than 3 degrees off the first axis of the half-way space, that space is turned,
            so that the patient lies in it as most do, and as the networks know them.

    Returns:
        The matrices F and M, (4, 4) each, LPS mm; M F⁻¹ is the affine.
    """
    rotation, _ = polar(affine[:3, :3])
    if np.linalg.det(rotation) < 0 or Rotation.from_matrix(rotation).magnitude() > _MAX_TURN:
        return Pair(fixed=np.eye(4), moving=affine)
    half = np.eye(4)
    half[:3, :3] = np.real(sqrtm(affine[:3, :3]))
    # Of a map and itself after it, the shift is (half + 1) times its own.
    half[:3, 3] = np.linalg.solve(half[:3, :3] + np.eye(3), affine[:3, 3])
    to = Pair(fixed=np.linalg.inv(half).astype(np.float64), moving=half)
    # Normals of planes go the other way than points, by the transposed matrix.
    known = ((to.fixed, lefts.fixed), (to.moving, lefts.moving))
    there = [_unit(matrix[:3, :3].T @ left) for matrix, left in known if left is not None]
    turn = np.eye(4)
    turn[:3, :3] = upright(np.sum(there, axis=0)) if there else np.eye(3)
    return Pair(fixed=to.fixed @ turn, moving=to.moving @ turn)


def upright(left: NDArray[np.floating]) -> NDArray[np.float64]:
    """The smallest rotation (3, 3) of the first axis to ``left``; none where that is nearly there."""
    axis = np.cross(LEFT, _unit(left))
    angle = float(np.arctan2(np.linalg.norm(axis), LEFT @ _unit(left)))
    if angle <= _MIN_TURN:
        return np.eye(3)
    found: NDArray[np.float64] = Rotation.from_rotvec(angle * _unit(axis)).as_matrix()
    return found


def _unit(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
