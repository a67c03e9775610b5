"""The deformation refined on the pair itself."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from mics.deformation.bidirectional import of_spacing
from mics.errors import InputError
from mics.image.grid import Grid
from mics.registration.footprint import volume_mm3
from mics.registration.guides import Guides, label_distances, landmark_places, stiff_map
from mics.registration.inputs import Scan
from mics.registration.refine import refine
from mics.registration.refine_settings import RefineSettings
from mics.registration.stage import Matrix, Stage, State
from mics.registration.steering import Steering

_BYTES_PER_LABEL_MM3 = 1.0
"""Of the distances to a given label's border, its maps, their warps and gradients; measured, and rounded up."""


@dataclass(frozen=True)
class InstanceOptimisation(Stage):
    """Instance optimisation on the abdominal window and the organ maps, where both scans are compared, with ``settings``.

    ``effort`` names them to a user who waits: a key of :data:`mics.registration.refine_settings.EFFORTS`, or any word.
    ``steering``: given labels and landmarks that lead it as well. ``keeps_lesions``: lesions are as stiff as the bones, which
    the rigidity of ``settings`` weighs.
    """

    settings: RefineSettings
    effort: str = "own settings"
    name: str = "refine"
    steering: Steering | None = None
    keeps_lesions: bool = False
    needs = ("organ_maps",)

    @property
    def title(self) -> str:
        """The message with its effort."""
        return f"Refining on this pair, {self.effort}"

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Bytes for organ maps, descriptors, their warps and gradients."""
        labels = 0 if self.steering is None else len(self.steering.labels)
        return (self.settings.bytes_per_mm3 + _BYTES_PER_LABEL_MM3 * labels) * volume_mm3(grid)

    def run(self, state: State) -> State:
        """Refine the deformation. Raises InputError where the masks leave nothing to compare."""
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
            guides=self._guides(state),
            settings=self.settings,
        )
        refined = state.with_displacements(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving)
        return refined.with_report(self.name, {"effort": self.effort, "settings": dataclasses.asdict(self.settings)})

    def _guides(self, state: State) -> Guides | None:
        """What else leads it; None where nothing does."""
        grid = of_spacing(state.grid, state.views.spacing_mm)
        led = self.steering or Steering()
        labels = points = rigid = None
        if led.labels:
            maps = [label_distances(scan.labels, led.labels, grid, matrix) for scan, matrix in _moving_and_fixed(state)]
            labels = torch.cat(maps).to(state.device)
        if led.landmarks is not None:
            places = landmark_places(led.landmarks, grid, state.to_scans)
            stack = np.stack([places.moving, places.fixed]).astype(np.float32)
            points = torch.from_numpy(stack).transpose(1, 2)[..., None, None].to(state.device)
        if self.settings.rigidity:
            organs = state.views.organs.moving, state.views.organs.fixed
            maps = [
                stiff_map(scan, own, grid, matrix, lesions=self.keeps_lesions)
                for (scan, matrix), own in zip(_moving_and_fixed(state), organs, strict=True)
            ]
            rigid = torch.cat(maps).to(state.device)
        if labels is None and points is None and rigid is None:
            return None
        return Guides(labels=labels, points=points, rigid=rigid)


def _moving_and_fixed(state: State) -> list[tuple[Scan, Matrix]]:
    """Both scans, and what takes points of the half-way space to theirs."""
    return [(state.scans.moving, state.to_scans.moving), (state.scans.fixed, state.to_scans.fixed)]


def _refuse_nothing_compared(state: State) -> None:
    """Raise InputError where the masks together leave nothing of the patient that can be compared."""
    scans = (state.scans.fixed, state.scans.moving)
    if all(scan.exclude is None and scan.lesions is None for scan in scans):
        return
    windows, valid = state.views.windows, state.views.compared
    tissue = (windows.moving[0, 0] > 0) | (windows.fixed[0, 0] > 0)  # the abdominal window is 0 where there is air
    if not ((valid.moving[0, 0] > 0) & (valid.fixed[0, 0] > 0) & tissue).any():
        raise InputError(
            "The masks of what to leave out cover all that the two scans have in common, so that nothing is left to compare: "
            "mask the lesion alone."
        )
