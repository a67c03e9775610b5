"""Whether a pair fits into memory, told before the work begins."""

import dataclasses
import math

import torch

from mics.errors import InputError
from mics.image.available import available_host_bytes
from mics.image.grid import Grid
from mics.network.precision import half_precision_pays
from mics.network.weights import LoadedModel
from mics.registration.settings import Settings

_GB = 1e9

# Bytes, measured on two cores and rounded up.
_LIBRARIES = 0.3 * _GB  # what is loaded later than this check
_PER_NATIVE_VOXEL = 24  # of both scans: HU, warped HU, labels, and a displacement of three float32
_PER_VOXEL_AT_WORK = 80  # of the larger one: copies while it is measured and both transforms are written
_PER_UNFOLDED_VOXEL = 45  # of the larger one, where the topology is preserved: the transform before and after
_FEATURE_COPIES = 5  # of the finest level's features of either volume that a pass through the network holds at its peak
_PER_REFINED_MM3 = {"none": 0, "fast": 16, "accurate": 40}  # organ maps, descriptors, their warps and gradients
_KEPT = 1.2  # of freed blocks that stay with a command's process and do not fit what comes next
_MARGIN_MM = 80.0


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes of main memory, and of the GPU's if the networks run there."""

    host: float
    gpu: float


def estimate(fixed: Grid, moving: Grid, settings: Settings) -> Need:
    """The memory that registering two scans takes at most, by their sizes and by the network's."""
    native = [float(math.prod(grid.size)) for grid in (fixed, moving)]
    scans = _PER_NATIVE_VOXEL * sum(native) + _PER_VOXEL_AT_WORK * max(native)
    if settings.topology == "preserve":
        scans += _PER_UNFOLDED_VOXEL * max(native)
    networks = _networks(fixed, moving, settings)
    if settings.device.type == "cuda":
        return Need(_KEPT * (_LIBRARIES + scans), networks)
    # While the networks work, the scans are all there is of the native volumes.
    return Need(_KEPT * (_LIBRARIES + max(scans, networks + 6 * sum(native))), 0.0)


def require_memory(fixed: Grid, moving: Grid, settings: Settings) -> None:
    """Raise InputError, with the need and a setting that fits, where this machine has too little memory left."""
    host = available_host_bytes()
    gpu = float(torch.cuda.mem_get_info(settings.device)[0]) if settings.device.type == "cuda" else 0.0

    def fits(need: Need) -> bool:
        return (host is None or need.host <= host) and need.gpu <= gpu

    need = estimate(fixed, moving, settings)
    if fits(need):
        return
    advice = "crop both scans to the abdomen, or use a machine with more memory"
    for option, other in _alternatives(settings):
        other_need = estimate(fixed, moving, other)
        if fits(other_need):
            advice = f"use {option}, which needs {_gigabytes(other_need)}"
            break
    left = f"{(host or 0) / _GB:.1f} GB" + (f" and {gpu / _GB:.1f} GB on the GPU" if need.gpu else "")
    raise InputError(f"Registering these scans needs {_gigabytes(need)} of memory, and {left} are left: {advice}.")


def _alternatives(settings: Settings) -> list[tuple[str, Settings]]:
    """Thriftier settings, by the options that ask for them."""
    cpu = dataclasses.replace(settings, device=torch.device("cpu"))
    thriftier = [
        ("--refine none", settings.unrefined()),
        ("--device cpu", cpu),
        ("--device cpu --refine none", cpu.unrefined()),
    ]
    if settings.refine == "accurate":
        thriftier.insert(0, ("--refine fast", dataclasses.replace(settings, refine="fast")))
    if settings.topology == "preserve":
        thriftier.insert(0, ("--topology free", dataclasses.replace(settings, topology="free")))
    return thriftier


def _networks(fixed: Grid, moving: Grid, settings: Settings) -> float:
    """Bytes at the networks' peak, on the largest grid that an affine between two adults can lead to."""
    extents = [(grid.corners().max(axis=0) - grid.corners().min(axis=0)) + _MARGIN_MM for grid in (fixed, moving)]
    volume = min(float(extent.prod()) for extent in extents)
    models = [model for model in (settings.model, settings.segmentation) if model is not None]
    size = 2 if half_precision_pays(settings.device) else 4
    needs = [_pass(model, volume / model.spacing_mm**3) * size for model in models]
    needs.append(_PER_REFINED_MM3[settings.refine] * volume)
    return max(needs)


def _pass(model: LoadedModel, voxels: float) -> float:
    """Numbers that a pass through a network holds, of ``voxels`` of its input."""
    images = 2 if model.card.averages_flips else 1
    return _FEATURE_COPIES * 2 * images * model.network.config.features_per_voxel * voxels


def _gigabytes(need: Need) -> str:
    return f"{need.host / _GB:.1f} GB" + (f" and {need.gpu / _GB:.1f} GB on the GPU" if need.gpu else "")
