"""What organs, tissue and fields of view say of the deformation, before it goes to the scans' own grids."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mics.image.ct_histogram import tissue_peaks
from mics.image.hounsfield import some_values
from mics.registration.evidence import gather
from mics.registration.stage import Matrix, Stage, State


@dataclass(frozen=True)
class Evidence(Stage):
    """Gathered from the windows and organ maps (:func:`mics.registration.evidence.gather`)."""

    name = "evidence"
    title = "Looking whether it worked"
    needs = ("organ_maps",)

    def run(self, state: State) -> State:
        """Add the evidence."""
        views, field = state.views, state.field
        found = gather(
            volumes=(views.windows.moving, views.windows.fixed),
            organs=(views.organs.moving, views.organs.fixed),
            valid=torch.cat([views.compared.moving, views.compared.fixed]),
            displacements=(field.moving_to_fixed, field.fixed_to_moving),
            spacing_mm=views.spacing_mm,
            scales=(_volume_scale(state.to_scans.moving), _volume_scale(state.to_scans.fixed)),
        )
        scans = {"moving": state.scans.moving, "fixed": state.scans.fixed}
        peaks = {role: tissue_peaks(some_values(scan.image.array)) for role, scan in scans.items()}
        found["tissue_peaks_hu"] = {
            role: None if found_in is None else {"fat": found_in[0], "soft": found_in[1]}
            for role, found_in in peaks.items()
        }
        return replace(state, evidence=found)


def _volume_scale(matrix: Matrix) -> float:
    return float(abs(np.linalg.det(matrix[:3, :3])))
