"""The affine that brings two scans of any hospital, spacing, orientation and field of view onto each other."""

import os
from types import ModuleType
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.image.folder import temporary_folder
from mics.image.io import Image
from mics.registration.coarse import Coarse, coarse
from mics.registration.start import best_start, difference

_SEARCH_MM, _ANTS_MM = 8.0, 4.0
_SEED = "1"


def register_affine(fixed: Image, moving: Image) -> NDArray[np.float64]:
    """The affine (4, 4), in LPS millimetres, from points of ``fixed`` to points of ``moving`` (ITK's direction).

    A search over shifts along the body gives the start, ANTs (antspyx) refines it. Deterministic on one machine.
    """
    coarse_fixed, coarse_moving = coarse(fixed, _SEARCH_MM), coarse(moving, _SEARCH_MM)
    start = best_start(coarse_fixed, coarse_moving)
    refined = _ants_affine(coarse(fixed, _ANTS_MM), coarse(moving, _ANTS_MM), start)
    # ANTs may run away where the scans share little; its own measure does not show that.
    return min((start, refined), key=lambda matrix: difference(coarse_fixed, coarse_moving, matrix))


def _ants_affine(fixed: Coarse, moving: Coarse, start: NDArray[np.float64]) -> NDArray[np.float64]:
    # The library is heavy to load, and needless where an affine is given. ITK reads these once, when it is loaded.
    os.environ.setdefault("ANTS_RANDOM_SEED", _SEED)
    import ants

    with temporary_folder("mics-affine-") as folder:
        first = str(folder / "start.mat")
        sitk.WriteTransform(_centred(start, fixed.image.grid.centre), first)
        result = ants.registration(
            _to_ants(ants, fixed.image),
            _to_ants(ants, moving.image),
            type_of_transform="Affine",
            initial_transform=first,
            outprefix=str(folder / "affine-"),
            aff_metric="GC",
            aff_iterations=(200, 100),
            aff_shrink_factors=(4, 2),
            aff_smoothing_sigmas=(2, 1),
        )
        return matrix_of(ants.read_transform(result["fwdtransforms"][0]))


def matrix_of(transform: Any) -> NDArray[np.float64]:
    """An ANTs affine as a matrix (4, 4): ITK stores it as y = A (x - centre) + translation + centre, in LPS."""
    numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def _centred(matrix: NDArray[np.float64], centre: NDArray[np.float64]) -> sitk.AffineTransform:
    """The same map about a centre in the patient: about a far origin, a small turn would be a large shift."""
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return transform


def _to_ants(ants: ModuleType, image: Image) -> Any:
    grid = image.grid
    direction = np.array(grid.direction).reshape(3, 3)
    array = np.ascontiguousarray(image.array)
    return ants.from_numpy(array, origin=grid.origin, spacing=grid.spacing, direction=direction)
