"""The deformation that the registration network predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from mics.deformation.field import downsample
from mics.errors import RunError
from mics.image.grid import Grid
from mics.network.displacements import displacements
from mics.network.pair import RegistrationNetwork
from mics.network.weights import LoadedModel
from mics.registration.footprint import pass_bytes
from mics.registration.stage import Need, Stage, State


@dataclass(frozen=True, kw_only=True)
class NetworkPrediction(Stage):
    """Prediction by the registration network ``model`` in ``steps`` steps."""

    model: LoadedModel
    steps: int
    name = "network"

    @property
    def title(self) -> str:
        """The message with its steps."""
        return f"Network, steps: {self.steps}"

    @property
    def needs(self) -> Sequence[Need]:
        """Organ maps, for a network that sees them."""
        return ("organ_maps",) if self.model.card.sees_organ_maps else ()

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Bytes for a pass through the network."""
        return pass_bytes(self.model, grid, device)

    def run(self, state: State) -> State:
        """Add the predicted deformation, on voxels of about 4 mm. Raises InputError where that holds what is no number."""
        assert state.windows is not None
        network = cast(RegistrationNetwork, self.model.network).to(state.device)
        shape = state.windows.moving.shape[2:]
        maps = state.organ_views.organs if state.organ_views is not None else None
        moving = network.network_input(state.windows.moving, None if maps is None else downsample(maps.moving, shape))
        fixed = network.network_input(state.windows.fixed, None if maps is None else downsample(maps.fixed, shape))
        moving_to_fixed, fixed_to_moving = displacements(self.model, a=moving, b=fixed, steps=self.steps)
        if not bool(moving_to_fixed.isfinite().all() and fixed_to_moving.isfinite().all()):
            raise RunError(
                f"The model {self.model.name} predicts displacements of this pair that are NaN or infinite; give another."
            )
        return state.with_displacements(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving)
