"""What organs, tissue and fields of view say of the deformation, before it goes to the scans' own grids."""

from dataclasses import dataclass, replace

import torch

from mics.registration.evidence import gather
from mics.registration.stage import Stage, State


@dataclass(frozen=True)
class Evidence(Stage):
    """Gathered from the windows and organ maps (:func:`mics.registration.evidence.gather`)."""

    name = "evidence"
    title = "Looking whether it worked"
    needs = ("organ_maps",)

    def run(self, state: State) -> State:
        """With the evidence."""
        views, field = state.views, state.field
        found = gather(
            volumes=(views.windows.moving, views.windows.fixed),
            organs=(views.organs.moving, views.organs.fixed),
            counted=torch.cat([views.compared.moving, views.compared.fixed]),
            displacements=(field.moving_to_fixed, field.fixed_to_moving),
            spacing_mm=views.spacing_mm,
        )
        return replace(state, evidence=found)
