"""Other tools, run on the same pairs: ANTs SyN (antspyx) and greedy (picsl_greedy), each from its Python package.

Both start from the same given affine, as our own pipeline does, so that what is compared is the deformable part. They
see the voxel arrays with their spacing and nothing else of the geometry: what comes back runs along the array's axes.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mics.image.grid import Grid
from mics.image.io import Image

SEED = 1

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class PeerResult:
    """Both directions of a registration, affine included, as ``(3, X, Y, Z)`` in voxels, pull.

    Voxel x of the fixed volume is filled from ``x + forward(x)`` of the moving one, voxel y of the moving one from
    ``y + backward(y)`` of the fixed one.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    seconds: float
    """Of the registration alone, without the affine and without reading and writing."""


def ants_syn(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> PeerResult:
    """ANTs SyN with antspyx's defaults (mutual information, 40x20x0 iterations), after the given affine.

    ``affine`` is 4x4 and takes LPS points of the fixed volume to the moving one. This is the second stage of antspyx's
    ``type_of_transform="SyN"``, whose first is an affine of its own.
    """
    import ants

    ants.config.set_ants_deterministic(on=False, seed_value=SEED)
    a, b = (ants.from_numpy(v.array.astype(np.float32), spacing=tuple(v.grid.spacing)) for v in (fixed, moving))
    with TemporaryDirectory() as folder:
        initial = sitk.AffineTransform(3)
        matrix = _unoriented(affine, fixed.grid, moving.grid)
        initial.SetMatrix(matrix[:3, :3].ravel())
        initial.SetTranslation(matrix[:3, 3])
        sitk.WriteTransform(initial, f"{folder}/affine.mat")
        start = time.perf_counter()
        syn = ants.registration(
            a, b, type_of_transform="SyNOnly", initial_transform=f"{folder}/affine.mat", outprefix=f"{folder}/syn_"
        )
        seconds = time.perf_counter() - start
        forward = ants.apply_transforms(a, b, syn["fwdtransforms"], compose=f"{folder}/forward_")
        backward = ants.apply_transforms(
            b, a, syn["invtransforms"], whichtoinvert=[True, False], compose=f"{folder}/backward_"
        )
        return PeerResult(
            forward=_voxels(_read(forward), moving.grid.spacing, np.eye(4)),
            backward=_voxels(_read(backward), fixed.grid.spacing, np.eye(4)),
            seconds=seconds,
        )


def greedy(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> PeerResult:
    """Greedy's deformable mode after the given affine: NCC of radius 4x4x4, 100x60x20 iterations, and its inverse warp.

    ``affine`` is 4x4 and takes LPS points of the fixed volume to the moving one.
    """
    from picsl_greedy import Greedy3D

    matrix = _unoriented(affine, fixed.grid, moving.grid)
    tool = Greedy3D()
    with TemporaryDirectory() as folder:
        # In RAS, unlike greedy's warps. It takes a matrix as an array too, but not as an initial transform.
        np.savetxt(f"{folder}/affine.mat", _LPS_TO_RAS @ matrix @ _LPS_TO_RAS)
        start = time.perf_counter()
        tool.execute(
            # -wp 0: by default warps are rounded to a tenth of a voxel, which would show in SdLogJ.
            f"-i fixed moving -it {folder}/affine.mat -m NCC 4x4x4 -n 100x60x20 -o warp -oinv inverse -wp 0 "
            f"-seed {SEED} -V 0",
            fixed=_itk(fixed),
            moving=_itk(moving),
            warp=None,
            inverse=None,
            out=io.StringIO(),
        )
        seconds = time.perf_counter() - start
    forward = _voxels(tool["warp"], moving.grid.spacing, matrix)
    inverse = _voxels(tool["inverse"], fixed.grid.spacing, np.eye(4))
    return PeerResult(
        forward, _after(np.linalg.inv(matrix).astype(np.float64), inverse, fixed.grid, moving.grid), seconds
    )


def _unoriented(affine: NDArray[np.float64], fixed: Grid, moving: Grid) -> NDArray[np.float64]:
    """The affine between the two arrays' own frames: voxel times spacing."""
    to_world, from_world = fixed.matrix @ _scaling(1 / np.array(fixed.spacing)), _scaling(moving.spacing)
    return np.asarray(from_world @ moving.inverse_matrix @ affine @ to_world)


def _scaling(factors: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diag([*factors, 1.0])


def _itk(volume: Image) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.array.astype(np.float32).T)
    image.SetSpacing([float(s) for s in volume.grid.spacing])
    return image


def _read(path: str | Path) -> sitk.Image:
    return sitk.ReadImage(str(path), sitk.sitkVectorFloat32)


def _voxels(field: sitk.Image, spacing: Sequence[float], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """``(3, X, Y, Z)`` to voxels of ``spacing`` from x to ``matrix(x + field(x))``; ``field`` and ``matrix`` in mm."""
    displacement = np.asarray(sitk.GetArrayFromImage(field)).T
    voxels = np.indices(displacement.shape[1:], dtype=np.float32)
    column = (3, 1, 1, 1)
    target = np.reshape(field.GetSpacing(), column) * voxels + displacement
    moved = np.tensordot(matrix[:3, :3], target, axes=1) + matrix[:3, 3].reshape(column)
    return np.asarray(moved / np.reshape(spacing, column) - voxels, dtype=np.float32)


def _after(
    matrix: NDArray[np.float64], displacement: NDArray[np.float32], inner: Grid, outer: Grid
) -> NDArray[np.float32]:
    """From voxel y of ``outer`` to ``z + displacement(z)`` with z = ``matrix(y)`` in voxels of ``inner``, less y."""
    voxels = np.indices(outer.size, dtype=np.float32)
    in_voxels = _scaling(1 / np.array(inner.spacing)) @ matrix @ _scaling(outer.spacing)
    place = np.tensordot(in_voxels[:3, :3], voxels, axes=1) + in_voxels[:3, 3].reshape(3, 1, 1, 1)
    there = [ndimage.map_coordinates(component, place, order=1, mode="nearest") for component in displacement]
    return np.asarray(place + np.stack(there) - voxels, dtype=np.float32)
