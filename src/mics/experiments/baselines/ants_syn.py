"""ANTs SyN, through antspyx (Avants et al. 2008)."""

import time
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from mics.experiments.baselines.baseline_result import SEED, BaselineResult, Matrix
from mics.experiments.baselines.frames import unoriented, voxels_of
from mics.image.io import Image
from mics.image.resample import itk_affine


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """SyN with antspyx's defaults (mutual information, 40x20x0 iterations): the second stage of its type ``"SyN"``."""
    import ants

    ants.config.set_ants_deterministic(on=False, seed_value=SEED)
    a, b = (ants.from_numpy(v.array.astype(np.float32), spacing=tuple(v.grid.spacing)) for v in (fixed, moving))
    with TemporaryDirectory(prefix="mics-ants-") as folder:
        sitk.WriteTransform(itk_affine(unoriented(affine, fixed.grid, moving.grid)), f"{folder}/affine.mat")
        start = time.perf_counter()
        syn = ants.registration(
            a, b, type_of_transform="SyNOnly", initial_transform=f"{folder}/affine.mat", outprefix=f"{folder}/syn_"
        )
        seconds = time.perf_counter() - start
        forward = ants.apply_transforms(a, b, syn["fwdtransforms"], compose=f"{folder}/forward_")
        backward = ants.apply_transforms(
            b, a, syn["invtransforms"], whichtoinvert=[True, False], compose=f"{folder}/backward_"
        )
        return BaselineResult(
            forward=voxels_of(_read(forward), moving.grid.spacing, np.eye(4)),
            backward=voxels_of(_read(backward), fixed.grid.spacing, np.eye(4)),
            seconds=seconds,
        )


def _read(path: str) -> sitk.Image:
    return sitk.ReadImage(path, sitk.sitkVectorFloat32)
