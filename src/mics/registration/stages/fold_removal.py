"""Transforms without folds."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mics.deformation.bidirectional import Transforms
from mics.deformation.topology import preserve_topology
from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.registration.stage import Stage, State

_PER_VOXEL = 140
"""Bytes: both displacements as wholes, before and after, and copies of one while it is worked on."""


@dataclass(frozen=True)
class FoldRemoval(Stage):
    """Both transforms changed as little as makes them free of folds (:func:`mics.deformation.topology.preserve_topology`)."""

    name: str = "topology"
    title = "Opening folds"
    needs = ("transforms", "orientation")

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Bytes for the larger transform."""
        return float(_PER_VOXEL * np.prod(grid.size, dtype=float))

    def run(self, state: State) -> State:
        """Change the transforms; reported are, by direction, what that changed, what holds now and the seconds it took."""
        forward, to_fixed = _unfolded(state.transforms.moving_to_fixed, state.affine)
        backward, to_moving = _unfolded(state.transforms.fixed_to_moving, np.linalg.inv(state.affine))
        unfolded = state.with_transforms(Transforms(moving_to_fixed=forward, fixed_to_moving=backward))
        return unfolded.with_report(self.name, {"moving_to_fixed": to_fixed, "fixed_to_moving": to_moving})


def _unfolded(transform: Transform, affine: NDArray[np.floating]) -> tuple[Transform, dict[str, Any]]:
    began = time.perf_counter()
    result, certificate = preserve_topology(transform, affine)
    return result, {**dataclasses.asdict(certificate), "seconds": round(time.perf_counter() - began, 2)}
