"""Both scans on the networks' grids, in HU windows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mics.deformation.bidirectional import of_spacing
from mics.image.grid import Grid
from mics.image.intensity import hu_windows
from mics.network.weights import LoadedModel
from mics.registration.inputs import Scan
from mics.registration.network_grid import Samples
from mics.registration.pair import Pair
from mics.registration.stage import Matrix, Stage, State


@dataclass(frozen=True, kw_only=True)
class Resampling(Stage):
    """Resampling for the registration network ``model`` and the ``segmentation`` network, each None where it looks at nothing."""

    model: LoadedModel | None
    segmentation: LoadedModel | None
    name = "resample"
    title = "Resampling to the network's grid"

    def run(self, state: State) -> State:
        """Add the windows of both scans for either network."""
        models = [model for model in (self.model, self.segmentation) if model is not None]
        fixed, moving = (
            windows(scan, matrix, state.grid, models, state.device)
            for scan, matrix in (
                (state.scans.fixed, state.to_scans.fixed),
                (state.scans.moving, state.to_scans.moving),
            )
        )
        pairs = [Pair(fixed=own, moving=other) for own, other in zip(fixed, moving, strict=True)]
        return replace(
            state,
            windows=None if self.model is None else pairs[0],
            organ_windows=None if self.segmentation is None else pairs[-1],
        )


def windows(
    scan: Scan, matrix: Matrix, grid: Grid, models: Sequence[LoadedModel], device: torch.device
) -> list[Tensor]:
    """The HU windows of a scan for each model, (1, 3, X, Y, Z), at its spacing over the box of ``grid``, in its range of HU.

    ``matrix`` (4, 4) maps points of ``grid`` to those of the scan.
    """
    samples = Samples.of(scan.image, grid, matrix)
    found = []
    for model in models:
        own = of_spacing(grid, model.spacing_mm)
        hu = samples.downsampled(own, model.hu_range)
        if hu is None:
            hu = Samples.of(scan.image, own, matrix).downsampled(own, model.hu_range)
        assert hu is not None
        found.append(hu_windows(hu.to(device), model.hu_range))
    return found
