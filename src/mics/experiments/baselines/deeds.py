"""deeds, the program ``deedsBCV`` (Heinrich et al. 2013)."""

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
from scipy import ndimage

from mics.experiments.baselines.baseline_result import BaselineResult, Displacement, Matrix
from mics.experiments.baselines.frames import after_prealignment, prealigned
from mics.image.io import Image

PROGRAM = "deedsBCV"
_LAST_SPACING = 4  # voxels between control points, by default


def register(fixed: Image, moving: Image, affine: Matrix) -> BaselineResult:
    """The program with its defaults, which its author chose on abdominal CT between patients; it gives no inverse."""
    with TemporaryDirectory(prefix="mics-deeds-") as folder:
        for name, volume in (("fixed", fixed), ("moving", prealigned(fixed, moving, affine))):
            image = nibabel.nifti1.Nifti1Image(volume.array.astype(np.float32), np.eye(4))
            nibabel.loadsave.save(image, f"{folder}/{name}.nii.gz")
        start = time.perf_counter()
        subprocess.run(
            [PROGRAM, "-F", f"{folder}/fixed.nii.gz", "-M", f"{folder}/moving.nii.gz", "-O", f"{folder}/out"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        displacement = read_displacements(Path(folder) / "out_displacements.dat", fixed.grid.size)
    return BaselineResult(after_prealignment(displacement, fixed.grid, moving.grid, affine), None, seconds)


def read_displacements(path: Path, size: tuple[int, int, int]) -> Displacement:
    """The dense displacement ``(3, X, Y, Z)`` in voxels of the program's control points.

    The file holds three float32 volumes, first index fastest, over the last level's grid: the displacement along the
    second, the first, and the third axis. Control point n of N lies at voxel ``n * X / N``; between them it is trilinear,
    beyond the last constant.
    """
    counts = [length // _LAST_SPACING for length in size]
    second, first, third = np.fromfile(path, dtype=np.float32).reshape(3, *counts[::-1]).transpose(0, 3, 2, 1)
    places = np.meshgrid(
        *[np.arange(length) * (count / length) for length, count in zip(size, counts, strict=True)], indexing="ij"
    )
    dense = [ndimage.map_coordinates(v, places, order=1, mode="nearest") for v in (first, second, third)]
    return np.stack(dense).astype(np.float32)
