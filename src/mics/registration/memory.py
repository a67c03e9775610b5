"""Whether a pair fits into memory, checked before the work begins."""

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mics.errors import InsufficientMemoryError
from mics.image.available import available_host_bytes
from mics.image.grid import Grid
from mics.registration.half_way import half_way, upright
from mics.registration.network_grid import MARGIN_MM, network_grid
from mics.registration.pair import Pair
from mics.registration.refine_settings import EFFORTS
from mics.registration.sagittal import LEFT, UNKNOWN, Direction
from mics.registration.settings import Settings
from mics.registration.stage_order import plan, refine_settings

_GB = 1e9

# Bytes, measured on two cores and rounded up; what a stage needs, its own file says.
_LIBRARIES = 0.3 * _GB  # what is loaded later than this check
_PER_NATIVE_VOXEL = (
    12  # of both scans: HU, warped HU, the same as whole numbers, labels; displacements are made by slabs
)
_PER_VOXEL_AT_WORK = 8  # of the larger one: copies while it is measured and written
_KEPT = 1.1  # of freed blocks that stay with a command's process and do not fit what comes next
_TURN_DEGREES = 15.0
"""Of an affine that is not known yet: more than two patients lie otherwise on their tables."""


@dataclasses.dataclass(frozen=True)
class MemoryNeed:
    """Bytes of main memory, and of the GPU's if the networks run there."""

    host: float
    gpu: float


def estimate(settings: Settings, *, fixed: Grid, moving: Grid, lefts: Pair[Direction | None] = UNKNOWN) -> MemoryNeed:
    """The memory that registering two scans takes at most, by their sizes and by the stages'.

    ``lefts``: which way is left in either patient, as of :func:`mics.registration.half_way.half_way`.

    Raises InputError where the affine is known and does not bring the scans together.
    """
    device = settings.device
    native = [float(math.prod(grid.size)) for grid in (fixed, moving)]
    larger = max(fixed, moving, key=lambda grid: math.prod(grid.size))
    box = _network_grid(settings, fixed=fixed, moving=moving, lefts=lefts)
    on_scans = [stage.memory(larger, device) for stage in plan(settings) if "transforms" in stage.needs]
    networks = max(stage.memory(box, device) for stage in plan(settings) if "transforms" not in stage.needs)
    scans = _PER_NATIVE_VOXEL * sum(native) + _PER_VOXEL_AT_WORK * max(native) + max(on_scans, default=0.0)
    if device.type == "cuda":
        return MemoryNeed(_KEPT * (_LIBRARIES + scans), networks)
    # While the networks work, the scans are all there is of the native volumes.
    return MemoryNeed(_KEPT * (_LIBRARIES + max(scans, networks + 4 * sum(native))), 0.0)


def require_memory(settings: Settings, *, fixed: Grid, moving: Grid, lefts: Pair[Direction | None] = UNKNOWN) -> None:
    """Raise InputError, with the need and a setting that fits, where this machine has too little memory left."""
    host = available_host_bytes()
    gpu = float(torch.cuda.mem_get_info(settings.device)[0]) if settings.device.type == "cuda" else 0.0

    def fits(need: MemoryNeed) -> bool:
        return (host is None or need.host <= host) and need.gpu <= gpu

    need = estimate(settings, fixed=fixed, moving=moving, lefts=lefts)
    if fits(need):
        return
    advice = "crop both scans to the abdomen, or use a machine with more memory"
    for option, other in _alternatives(settings):
        other_need = estimate(other, fixed=fixed, moving=moving, lefts=lefts)
        if fits(other_need):
            advice = f"use {option}, which needs {_gigabytes(other_need)}"
            break
    left = f"{(host or 0) / _GB:.1f} GB" + (f" and {gpu / _GB:.1f} GB on the GPU" if need.gpu else "")
    raise InsufficientMemoryError(
        f"Registering these scans needs {_gigabytes(need)} of memory, and {left} are left: {advice}."
    )


def _alternatives(settings: Settings) -> list[tuple[str, Settings]]:
    """Thriftier settings, by the options that ask for them; of stages that a user has put together, only the device is ours."""
    cpu = dataclasses.replace(settings, device=torch.device("cpu"))
    if settings.stages is not None:
        return [('`device="cpu"`', cpu)]
    thriftier = [*_smaller(settings), ('`device="cpu"`', cpu)]
    if not settings.same_patient and settings.steering is None:  # whose refinement cannot be left out
        thriftier.insert(-1, ('`refine="none"`', settings.unrefined()))
        thriftier.append(('`device="cpu"` and `refine="none"`', cpu.unrefined()))
    if settings.topology == "preserve":
        thriftier.insert(0, ('`topology="free"`', dataclasses.replace(settings, topology="free")))
    return thriftier


def _smaller(settings: Settings) -> list[tuple[str, Settings]]:
    """The refinements that need less memory than this one, the largest first."""
    if settings.refine not in EFFORTS:
        return []
    others = [dataclasses.replace(settings, refine=name) for name in EFFORTS]
    needs = {other.refine: refine_settings(other).bytes_per_mm3 for other in others}
    smaller = [other for other in others if needs[other.refine] < needs[settings.refine]]
    return [(f'`refine="{other.refine}"`', other) for other in sorted(smaller, key=lambda other: -needs[other.refine])]


def _network_grid(settings: Settings, *, fixed: Grid, moving: Grid, lefts: Pair[Direction | None]) -> Grid:
    """The one that will be used where the affine is known, else the largest that may come; of that only the volume is meant."""
    spacing_mm = settings.card.spacing_mm
    if settings.affine is not None:
        return network_grid(
            fixed=fixed, moving=moving, to_scans=half_way(settings.affine, lefts), spacing_mm=spacing_mm
        )
    # An affine of which nothing is known yet lays the patients' planes about parallel.
    known = [left for left in (lefts.fixed, lefts.moving, LEFT) if left is not None]
    corners = [
        grid.corners() @ upright(known[0] if left is None else left)
        for grid, left in ((fixed, lefts.fixed), (moving, lefts.moving))
    ]
    # Even numbers of voxels, their outermost centres on or just beyond the faces.
    x, y, z = (
        2 * math.ceil((float(extent) / spacing_mm + 1) / 2)
        for extent in max((_extents(corners, axis) for axis in range(3)), key=np.prod)
    )
    return Grid((x, y, z), (spacing_mm,) * 3, (0.0, 0.0, 0.0))


def _extents(corners: list[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
    """The longest edges (3,), in mm, of a grid of two scans of which either is turned about this axis by half of a turn."""
    turn = Rotation.from_rotvec(np.eye(3)[axis] * _TURN_DEGREES / 2, degrees=True).as_matrix()
    boxes = [np.max([np.ptp(own @ matrix, axis=0) for matrix in (turn, turn.T)], axis=0) for own in corners]
    shorter, longer = np.sort(boxes, axis=0)
    # A margin ends where the longer one does. Where both are as long, each of them reaches beyond the other at one end.
    return np.asarray(shorter + np.clip(longer - shorter, MARGIN_MM, 2 * MARGIN_MM))


def _gigabytes(need: MemoryNeed) -> str:
    return f"{need.host / _GB:.1f} GB" + (f" and {need.gpu / _GB:.1f} GB on the GPU" if need.gpu else "")
