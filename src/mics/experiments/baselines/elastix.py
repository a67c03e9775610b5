"""elastix, through itk-elastix (Klein et al. 2010)."""

import time
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mics.experiments.baselines.baseline_result import SEED, BaselineResult, Matrix
from mics.experiments.baselines.frames import after_prealignment, prealigned
from mics.image.io import Image

_RESOLUTIONS, _GRID_MM = 4, 10.0


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """B-splines with elastix's own default map for them, seeded; elastix gives no inverse.

    Mutual information and bending energy, four resolutions down to a control point every 10 mm, 256 iterations each by
    adaptive stochastic gradient descent. Its authors' collection has no setting for the abdomen between patients.
    """
    import itk

    target, source = (_to_itk(itk, volume) for volume in (fixed, prealigned(fixed, moving, affine)))
    settings = itk.ParameterObject.New()
    parameters = settings.GetDefaultParameterMap("bspline", _RESOLUTIONS, _GRID_MM)
    parameters["RandomSeed"] = [str(SEED)]
    parameters["WriteResultImage"] = ["false"]
    settings.AddParameterMap(parameters)
    # It writes the field into a file as well, unasked, by default into the current folder.
    with TemporaryDirectory(prefix="mics-elastix-") as folder:
        start = time.perf_counter()
        _, result = itk.elastix_registration_method(target, source, parameter_object=settings, log_to_console=False)
        seconds = time.perf_counter() - start
        field = np.asarray(
            itk.transformix_deformation_field(source, result, output_directory=folder)
        )  # (Z, Y, X, 3), mm
    voxels = field.transpose(3, 2, 1, 0) / np.reshape(fixed.grid.spacing, (3, 1, 1, 1))
    return BaselineResult(after_prealignment(voxels, fixed.grid, moving.grid, affine), None, seconds)


def _to_itk(itk: Any, volume: Image) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(volume.array.astype(np.float32).T))
    image.SetSpacing([float(s) for s in volume.grid.spacing])
    return image
