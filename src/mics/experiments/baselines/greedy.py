"""greedy, through picsl-greedy (Yushkevich et al. 2016)."""

import io
import time
from tempfile import TemporaryDirectory

import numpy as np

from mics.experiments.baselines.baseline_result import SEED, BaselineResult, Matrix
from mics.experiments.baselines.frames import after, to_itk, unoriented, voxels_of
from mics.image.io import Image

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """Greedy's deformable mode: NCC of radius 4x4x4, 100x60x20 iterations, and its inverse warp."""
    from picsl_greedy import Greedy3D

    matrix = unoriented(affine, fixed.grid, moving.grid)
    tool = Greedy3D()
    with TemporaryDirectory(prefix="mics-greedy-") as folder:
        # In RAS, unlike greedy's warps. It takes a matrix as an array too, but not as an initial transform.
        np.savetxt(f"{folder}/affine.mat", _LPS_TO_RAS @ matrix @ _LPS_TO_RAS)
        start = time.perf_counter()
        tool.execute(
            # -wp 0: by default warps are rounded to a tenth of a voxel, which would show in SdLogJ.
            f"-i fixed moving -it {folder}/affine.mat -m NCC 4x4x4 -n 100x60x20 -o warp -oinv inverse -wp 0 "
            f"-seed {SEED} -V 0",
            fixed=to_itk(fixed),
            moving=to_itk(moving),
            warp=None,
            inverse=None,
            out=io.StringIO(),
        )
        seconds = time.perf_counter() - start
    forward = voxels_of(tool["warp"], moving.grid.spacing, matrix)
    inverse = voxels_of(tool["inverse"], fixed.grid.spacing, np.eye(4))
    backward = after(np.linalg.inv(matrix).astype(np.float64), inverse, fixed.grid, moving.grid)
    return BaselineResult(forward, backward, seconds)
