"""What every adapter delivers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Displacement = NDArray[np.float32]

SEED = 1


@dataclass(frozen=True)
class BaselineResult:
    """A registration, affine included, as ``(3, X, Y, Z)`` in voxels, pull.

    Voxel x of the fixed volume is filled from ``x + forward(x)`` of the moving one, voxel y of the moving one from
    ``y + backward(y)`` of the fixed one. ``backward`` is None where the tool gives no inverse.
    """

    forward: Displacement
    backward: Displacement | None
    seconds: float
    """Of the registration alone, without the affine and without reading and writing."""
    details: dict[str, Any] | None = None
    """Of ours: the models with their checksums, and the seconds of every stage."""
