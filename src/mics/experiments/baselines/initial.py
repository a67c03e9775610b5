"""The two starting points: the pair as it is, and the affine that all methods start from."""

import numpy as np

from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.experiments.baselines.frames import affine_displacement
from mics.image.io import Image


def unregistered(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """The pair as it lies in the world (in the challenge's files: as it is given)."""
    return affine_alone(fixed, moving, np.eye(4))


def affine_alone(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """The affine, which has been computed before."""
    forward = affine_displacement(fixed.grid, moving.grid, affine)
    return BaselineResult(
        forward, affine_displacement(moving.grid, fixed.grid, np.linalg.inv(affine).astype(np.float64)), seconds=0.0
    )
