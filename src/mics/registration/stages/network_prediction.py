"""The deformation that the registration network predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.field import along_axes
from mics.errors import RunError
from mics.image.grid import Grid
from mics.network.displacements import displacements
from mics.network.pair import RegistrationNetwork
from mics.network.weights import LoadedModel
from mics.registration.footprint import pass_bytes
from mics.registration.stage import Need, Stage, State


@dataclass(frozen=True, kw_only=True)
class NetworkPrediction(Stage):
    """By the registration network ``model`` in ``steps`` steps."""

    model: LoadedModel
    steps: int
    name = "network"

    @property
    def title(self) -> str:
        """With its steps."""
        return f"Network, steps: {self.steps}"

    @property
    def needs(self) -> Sequence[Need]:
        """Organ maps, for a network that sees them."""
        return ("organ_maps",) if self.model.card.sees_organ_maps else ()

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Of a pass through the network."""
        return pass_bytes(self.model, grid, device)

    def run(self, state: State) -> State:
        """With the predicted deformation, on voxels of about 4 mm. Raises InputError where that holds what is no number."""
        assert state.windows is not None
        network = cast(RegistrationNetwork, self.model.network).to(state.device)
        shape = state.windows.moving.shape[2:]
        maps = state.seen.organs if state.seen is not None else None
        moving = network.seen(state.windows.moving, None if maps is None else averaged(maps.moving, shape))
        fixed = network.seen(state.windows.fixed, None if maps is None else averaged(maps.fixed, shape))
        moving_to_fixed, fixed_to_moving = displacements(self.model, a=moving, b=fixed, steps=self.steps)
        if not bool(moving_to_fixed.isfinite().all() and fixed_to_moving.isfinite().all()):
            raise RunError(
                f"The model {self.model.name} predicts displacements of this pair that are NaN or infinite; give another."
            )
        return state.with_displacements(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving)


def averaged(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Maps (1, organs, X, Y, Z) on a coarser grid with the same outermost voxel centres, as averages over its voxels."""
    width = round(maps.shape[2] / shape[0])
    weights = (_averages(n, m, width).to(maps.device) for n, m in zip(maps.shape[2:], shape, strict=True))
    return along_axes(maps, *weights)


def _averages(fine: int, coarse: int, width: int) -> Tensor:
    """What each of ``fine`` voxels in a row weighs in each of ``coarse`` that are ``width`` times as large, (coarse, fine)."""
    weights = torch.eye(fine, dtype=torch.float32)[None]
    if width > 1:
        # Two boxes in a row weigh the neighbours 1, 2, 1 for voxels twice as large.
        for padding in (width // 2, (width - 1) // 2):
            weights = functional.avg_pool1d(weights, width, stride=1, padding=padding, count_include_pad=False)
    return functional.interpolate(weights, size=coarse, mode="linear", align_corners=True)[0].T
