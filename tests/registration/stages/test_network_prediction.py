"""What the registration network is given, and what it may predict."""

import pytest
import torch

from mics.errors import InputError
from mics.image.grid import Grid
from mics.network.card import ModelCard
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import LoadedModel
from mics.registration.pair import Pair
from mics.registration.stage import Alignment, State
from mics.registration.stages.network_prediction import NetworkPrediction


def test_displacements_that_are_no_numbers_are_refused():
    network = build(MICSConfig(channels=(4, 8), decoder_normalisation=False)).eval()
    model = LoadedModel(network, "own", ModelCard(network=network.config, sha256="", spacing_mm=8.0, hu_range=None))
    volumes = torch.rand(2, 1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    grid = Grid((16, 16, 16), (8.0, 8.0, 8.0), (0.0, 0.0, 0.0))
    aligned = Alignment(affine=None, to_scans=None, grid=grid, in_view=None)
    windows = Pair(moving=volumes[0], fixed=volumes[1])
    state = State(scans=None, device=torch.device("cpu"), alignment=aligned, windows=windows)
    stage = NetworkPrediction(model=model, steps=2)
    assert stage.run(state).field.grid.size == (31, 31, 31)
    volumes[1, 0, 0, 8, 8, 8] = torch.nan
    with pytest.raises(InputError, match="own predicts displacements of this pair that are NaN or infinite"):
        stage.run(state)
