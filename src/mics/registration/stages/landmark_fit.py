"""Landmarks met to a tolerance."""

from dataclasses import dataclass

import numpy as np
import torch

from mics.image.grid import Grid
from mics.registration.footprint import volume_mm3
from mics.registration.guides import landmark_places
from mics.registration.landmark_fit import fit_landmarks
from mics.registration.stage import Stage, State
from mics.registration.steering import Steering

_BYTES_PER_MM3 = 16.0
"""Of both directions at 3 mm, the flows, their compositions and derivatives; measured, and rounded up."""


@dataclass(frozen=True)
class LandmarkFit(Stage):
    """Fit the landmarks of ``steering`` to its tolerance, as far as nothing folds (:mod:`mics.registration.landmark_fit`)."""

    steering: Steering
    name: str = "landmark_fit"
    title = "Meeting the landmarks"

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Bytes for displacements and what is made of them."""
        return _BYTES_PER_MM3 * volume_mm3(grid)

    def run(self, state: State) -> State:
        """Change the deformation."""
        led, field = self.steering, state.field
        assert led.landmarks is not None
        assert led.tolerance_mm is not None
        places = landmark_places(led.landmarks, field.grid, state.to_scans)
        moving_to_fixed, fixed_to_moving = fit_landmarks(
            moving_to_fixed=field.moving_to_fixed,
            fixed_to_moving=field.fixed_to_moving,
            fixed=places.fixed,
            moving=places.moving,
            spacing_mm=np.array(field.grid.spacing),
            tolerance_mm=led.tolerance_mm,
        )
        return state.with_displacements(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving)
