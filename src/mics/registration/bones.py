"""Bones in a CT: what is dense, has a denser core, and is no organ.

Contrast medium is as dense as spongy bone, so density alone does not tell. Cortical bone is denser than enhanced blood or kidneys
in the usual phases, organs are known to the segmentation network, and what of a dense part holds no such core is left out.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_DENSE_HU, _CORE_HU = 160.0, 300.0
_CUT_OFF = 0.98
"""Of the largest value of a scan whose values were cut off below :data:`_CORE_HU`: from there on it is taken for a core."""
_MIN_CORE = 0.04
"""Share of a dense part that is core; below it, it is contrast medium."""
_MIN_ML = 0.5
_MARROW_MM = 6.0
"""What lies between dense parts so near to each other is marrow."""


def bone_mask(hu: NDArray[np.float32], spacing_mm: float, organs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a scan shows bone, (X, Y, Z).

    Args:
        hu: (X, Y, Z), cubic voxels of ``spacing_mm``, about 2 mm.
        spacing_mm: An edge of a voxel.
        organs: Voxels of organs and vessels, which may be as dense by contrast medium.
    """
    core = hu >= min(_CORE_HU, _CUT_OFF * float(hu.max()))
    parts, count = ndimage.label((hu > _DENSE_HU) & ~organs)
    if not count:
        return np.zeros(hu.shape, dtype=np.bool_)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    cores = np.bincount(parts[core], minlength=count + 1)
    kept = (sizes * spacing_mm**3 >= 1000 * _MIN_ML) & (cores >= _MIN_CORE * sizes)
    kept[0] = False
    found: NDArray[np.bool_] = kept[parts]
    radius = max(1, round(_MARROW_MM / 2 / spacing_mm))
    closed = ndimage.binary_closing(np.pad(found, radius), iterations=radius)
    inner = closed[(slice(radius, -radius),) * 3] & ~organs
    return np.asarray(inner | found)
