"""FireANTs, through fireants (Jena et al. 2024)."""

import time

import numpy as np
import torch

from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.experiments.baselines.frames import after_prealignment, prealigned, to_itk
from mics.image.io import Image


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """Greedy diffeomorphic registration as in its authors' study of CT (EMPIRE10, lungs); no inverse is asked for.

    Local cross-correlation, shrink factors 6, 4, 2, 1 with 200, 150, 75, 25 iterations, otherwise the defaults.
    """
    from fireants.io import BatchedImages
    from fireants.io import Image as FireImage
    from fireants.registration.greedy import GreedyRegistration

    device = "cuda" if torch.cuda.is_available() else "cpu"
    target, source = (
        BatchedImages([FireImage(to_itk(volume), device=device)])
        for volume in (fixed, prealigned(fixed, moving, affine))
    )
    torch.manual_seed(0)
    start = time.perf_counter()
    registration = GreedyRegistration(
        scales=[6, 4, 2, 1],
        iterations=[200, 150, 75, 25],
        fixed_images=target,
        moving_images=source,
        progress_bar=False,
    )
    registration.optimize()
    with torch.no_grad():
        # (1, Z, Y, X, 3): places for grid_sample, corner centres at -1 and 1, components in the order x, y, z.
        places = registration.get_warped_coordinates(target, source)
    seconds = time.perf_counter() - start
    position = np.moveaxis(places[0].float().cpu().numpy(), -1, 0).transpose(0, 3, 2, 1)
    extent = np.array(fixed.grid.size, dtype=np.float32).reshape(3, 1, 1, 1) - 1
    displacement = (position + 1) / 2 * extent - np.indices(fixed.grid.size, dtype=np.float32)
    return BaselineResult(after_prealignment(displacement, fixed.grid, moving.grid, affine), None, seconds)
