"""The affine that brings two scans of any hospital, spacing, orientation and field of view onto each other."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.files.folder import temporary_folder
from mics.image.io import Image, to_itk
from mics.registration.affine_file import read_affine
from mics.registration.coarse import Coarse, coarse, in_order
from mics.registration.pair import Pair
from mics.registration.start import best_start, difference

_SEARCH_MM, _ANTS_MM = 8.0, 4.0
_SEED = "1"
_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def register_affine(*, fixed: Image, moving: Image, rigid: bool = False) -> NDArray[np.float64]:
    """The affine (4, 4), in LPS millimetres, from points of ``fixed`` to points of ``moving`` (ITK's direction).

    A search over shifts along the body gives the start, ANTs (antspyx) refines it. The same on any number of cores. ANTs treats
    the scans unlike, so the one with the smaller body always counts as fixed: exchanging the scans inverts the affine.
    ``rigid``: a rotation and a shift alone, as between two scans of one patient.
    """
    scans, searched, swapped = in_order(Pair(fixed=fixed, moving=moving), _SEARCH_MM)
    start = best_start(searched, scaled=not rigid)
    finer = Pair(fixed=coarse(scans.fixed, _ANTS_MM), moving=coarse(scans.moving, _ANTS_MM))
    refined = _ants_affine(finer, start, "Rigid" if rigid else "Affine")
    # ANTs may run away where the scans share little; its own measure does not show that.
    found = min((start, refined), key=lambda matrix: difference(searched, matrix))
    return np.linalg.inv(found).astype(np.float64) if swapped else found


def _ants_affine(scans: Pair[Coarse], start: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    with temporary_folder("mics-affine-") as folder:
        first, *volumes = (folder / name for name in ("start.mat", "fixed.mha", "moving.mha"))
        sitk.WriteTransform(_centred(start, scans.fixed.image.grid.centre), str(first))
        for scan, path in zip((scans.fixed, scans.moving), volumes, strict=True):
            sitk.WriteImage(to_itk(scan.image), str(path))  # MetaImage keeps places as they are, NIfTI rounds them
        arguments = {
            "--dimensionality": "3",
            "--initial-moving-transform": str(first),
            "--metric": f"GC[{volumes[0]},{volumes[1]},1,32,regular,0.2]",
            "--transform": f"{kind}[0.25]",
            "--convergence": "200x100",
            "--shrink-factors": "4x2",
            "--smoothing-sigmas": "2x1",
            "--use-histogram-matching": "0",
            "--collapse-output-transforms": "1",
            "--float": "1",
            "--random-seed": _SEED,
            "--output": str(folder / "affine-"),
        }
        with _one_thread():
            failed = _ants_library().antsRegistration([part for argument in arguments.items() for part in argument])
        if failed:
            raise RuntimeError(f"ANTs' affine registration ended with code {failed}.")
        return read_affine(folder / "affine-0GenericAffine.mat")


@contextmanager
def _one_thread() -> Iterator[None]:
    """ANTs in one thread: each number of threads adds up in another order, which ends millimetres elsewhere.

    ITK asks the environment once, in the first call: a process in which ANTs has worked before keeps its number.
    """
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


def _ants_library() -> ModuleType:
    """ANTs itself, the compiled part of antspyx: the package around it takes a second to load pandas and statsmodels."""
    name = "ants.lib"
    if name not in sys.modules:
        package = importlib.util.find_spec("ants")
        found = package and PathFinder.find_spec(name, package.submodule_search_locations)
        if not (found and found.loader):
            raise ImportError("antspyx is not installed, or has no compiled ants.lib.", name=name)
        library = importlib.util.module_from_spec(found)
        found.loader.exec_module(library)
        sys.modules[name] = library  # for later imports of the package: it can be loaded once
    return sys.modules[name]


def _centred(matrix: NDArray[np.float64], centre: NDArray[np.float64]) -> sitk.AffineTransform:
    """The same map about a centre in the patient: about a far origin, a small turn would be a large shift."""
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return transform
