"""The organs of both scans, found by the segmentation network, and what their sides say of the headers."""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mics.deformation.bidirectional import of_spacing
from mics.deformation.field import resize
from mics.errors import GeometryError, InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import resample
from mics.network.precision import half_precision
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel
from mics.registration.footprint import pass_bytes
from mics.registration.header_orientation import wrong_orientations
from mics.registration.inputs import Scan
from mics.registration.laterality import check_laterality
from mics.registration.pair import Pair
from mics.registration.stage import Mask, Matrix, Stage, State, Views


@dataclass(frozen=True, kw_only=True)
class OrganMaps(Stage):
    """Organ maps by the segmentation network ``model``."""

    model: LoadedModel
    name = "organs"
    title = "Finding the organs"

    def memory(self, grid: Grid, device: torch.device) -> float:
        """Bytes for a pass through the network."""
        return pass_bytes(self.model, grid, device)

    def run(self, state: State) -> State:
        """Add the views. Raises InputError where one scan's header mirrors or turns its patient and the other's does not."""
        windows = state.organ_windows
        assert windows is not None
        organs = organ_maps(self.model, windows)
        messages = _sides(organs, self.model.spacing_mm, state)
        views = Views(
            windows=windows,
            organs=organs,
            compared=compared(state, self.model.spacing_mm),
            spacing_mm=self.model.spacing_mm,
        )
        return replace(state, organ_windows=None, organ_views=views, warnings=[*state.warnings, *messages])


@torch.no_grad()
def organ_maps(model: LoadedModel, windows: Pair[Tensor]) -> Pair[Tensor]:
    """Soft organ maps, (1, organs, X, Y, Z), of the windows at the spacing that ``model`` works at."""
    device = windows.moving.device
    network = cast(Segmentation, model.network).to(device)
    with half_precision(device):
        moving, fixed = (network.organ_maps(own, model.crop) for own in (windows.moving, windows.fixed))
    return Pair(fixed=fixed, moving=moving)


def compared(state: State, spacing_mm: float) -> Pair[Tensor]:
    """Weights of the data to compare in either scan, (1, 1, X, Y, Z) in [0, 1], at ``spacing_mm``: in view and not excluded."""
    grid, scans, in_view, to_scans = of_spacing(state.grid, spacing_mm), state.scans, state.in_view, state.to_scans
    fixed = _valid(in_view.fixed, scans.fixed, to_scans.fixed, grid)
    moving = _valid(in_view.moving, scans.moving, to_scans.moving, grid)
    return Pair(fixed=fixed.to(state.device), moving=moving.to(state.device))


def _valid(in_view: Mask, scan: Scan, matrix: Matrix, grid: Grid) -> Tensor:
    valid = resize(torch.from_numpy(in_view.astype(np.float32))[None, None], grid.size)
    for left_out in (scan.exclude, scan.lesions):
        if left_out is not None:
            binary = Image((left_out.array > 0).astype(np.float32), left_out.grid)
            valid[0, 0][torch.from_numpy(resample(binary, grid, matrix, outside=0).array > 0)] = 0
    return valid


def _sides(organs: Pair[Tensor], spacing_mm: float, state: State) -> list[str]:
    try:
        return check_laterality(organs_moving=organs.moving, organs_fixed=organs.fixed, spacing_mm=spacing_mm)
    except InputError:
        if np.linalg.det(state.affine[:3, :3]) < 0:
            raise GeometryError(
                "The affine mirrors the moving scan (its determinant is below 0), and the liver of one scan then lies on the "
                "left: give an affine that does not mirror."
            ) from None
        # What is found in a patient who is turned may lie on any side.
        wrong = wrong_orientations({"fixed": state.scans.fixed.image, "moving": state.scans.moving.image}, state.device)
        if wrong:
            raise GeometryError(" ".join(wrong)) from None
        raise
