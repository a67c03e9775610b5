"""convexAdam with MIND features, through convexAdam (Siebert et al. 2024)."""

import time

import numpy as np
import torch

from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.experiments.baselines.frames import after_prealignment, prealigned
from mics.image.io import Image


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """Its function with its defaults (grid 6, search 4, 80 iterations of Adam at half the resolution), no inverse.

    The authors' winning entry for abdominal CT runs on nnU-Net's organ maps instead, which the package does not bring. It
    works in half precision; on a CPU in single, where half is slow or missing.
    """
    from convexAdam.convex_adam_MIND import convex_adam_pt

    target, source = fixed.array.astype(np.float32), prealigned(fixed, moving, affine).array.astype(np.float32)
    gpu = torch.cuda.is_available()
    start = time.perf_counter()
    field = convex_adam_pt(
        torch.from_numpy(np.ascontiguousarray(target)),
        torch.from_numpy(np.ascontiguousarray(source)),
        dtype=torch.float16 if gpu else torch.float32,
        device=torch.device("cuda" if gpu else "cpu"),
    )
    seconds = time.perf_counter() - start
    displacement = np.moveaxis(np.asarray(field, dtype=np.float32), -1, 0)
    return BaselineResult(after_prealignment(displacement, fixed.grid, moving.grid, affine), None, seconds)
