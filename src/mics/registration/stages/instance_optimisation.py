"""The deformation refined on the pair itself."""

import dataclasses
from dataclasses import dataclass

import torch

from mics.errors import InputError
from mics.image.grid import Grid
from mics.registration.footprint import volume_mm3
from mics.registration.refine import refine
from mics.registration.refine_settings import RefineSettings
from mics.registration.stage import Stage, State


@dataclass(frozen=True)
class InstanceOptimisation(Stage):
    """On the abdominal window and the organ maps, where both scans are compared, with ``settings``.

    ``effort`` names them to a user who waits: a key of :data:`mics.registration.refine_settings.BUDGETS`, or any word.
    """

    settings: RefineSettings
    effort: str = "own settings"
    name: str = "refine"
    needs = ("organ_maps",)

    @property
    def title(self) -> str:
        """With its effort."""
        return f"Refining on this pair, {self.effort}"

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Of organ maps, descriptors, their warps and gradients."""
        return self.settings.bytes_per_mm3 * volume_mm3(grid)

    def run(self, state: State) -> State:
        """With a refined deformation. Raises InputError where the masks leave nothing to compare."""
        _refuse_nothing_compared(state)
        views, field = state.views, state.field
        moving_to_fixed, fixed_to_moving = refine(
            a=views.windows.moving[:, :1],
            b=views.windows.fixed[:, :1],
            organs_a=views.organs.moving,
            organs_b=views.organs.fixed,
            displacement_ab=field.moving_to_fixed,
            displacement_ba=field.fixed_to_moving,
            spacing_mm=views.spacing_mm,
            valid=torch.cat([views.compared.moving, views.compared.fixed]),
            settings=self.settings,
        )
        refined = state.with_displacements(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving)
        return refined.with_report(self.name, {"effort": self.effort, "settings": dataclasses.asdict(self.settings)})


def _refuse_nothing_compared(state: State) -> None:
    """Raise InputError where the masks together leave nothing of the patient that can be compared."""
    if state.scans.fixed.exclude is None and state.scans.moving.exclude is None:
        return
    windows, counted = state.views.windows, state.views.compared
    tissue = (windows.moving[0, 0] > 0) | (windows.fixed[0, 0] > 0)  # the abdominal window is 0 where there is air
    if not ((counted.moving[0, 0] > 0) & (counted.fixed[0, 0] > 0) & tissue).any():
        raise InputError(
            "The masks of what to leave out cover all that the two scans have in common, so that nothing is left to compare: "
            "mask the lesion alone."
        )
