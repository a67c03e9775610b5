"""Prediction on a prepared grid, with a network whose answer is known."""

import numpy as np
import pytest
import torch

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.network.card import ModelCard
from mics.network.mics import MICS, MICSConfig
from mics.network.segmentation import OrganSegmentation, OrganSegmentationConfig
from mics.network.weights import LoadedModel
from mics.pseudo_labels.predict import predict


class Threshold(OrganSegmentation):
    """Organ 6 is what is brighter than the middle of the abdominal window, 40 HU; the edge is soft."""

    def forward(self, windows):
        bright = 20 * (windows[:, 0] - 0.5)
        logits = torch.full((windows.shape[0], 14, *windows.shape[2:]), -20.0)
        logits[:, 0], logits[:, 6] = -bright, bright
        return logits


def loaded(network, spacing=4.0, crop=None):
    card = ModelCard(network=network.config, sha256="0" * 64, spacing_mm=spacing, hu_range=None, crop=crop)
    return LoadedModel(network.eval(), "hand-made", card)


@pytest.fixture
def ball():
    """A bright ball of 17 mm on a 2 mm grid whose size is no multiple of the model's voxel; and which voxels are in it."""
    grid = Grid.axis_aligned((0, 0, 0), (60, 62, 58), 2, "LAS")
    inside = np.linalg.norm(grid.points() - [29, 33, 27.5], axis=-1) < 17
    return Image(np.where(inside, 140, -60).astype(np.int16), grid), inside


@pytest.mark.parametrize("crop", [None, (8, 8, 8)])
def test_what_a_coarse_network_sees_lies_where_it_is(ball, crop):
    image, inside = ball
    network = Threshold(OrganSegmentationConfig(channels=(4, 8)))
    found = predict(loaded(network, crop=crop), image, torch.device("cpu"))
    assert found.labels.shape == found.probability.shape == image.array.shape
    assert set(np.unique(found.labels)) == {0, 6}
    organ = found.labels == 6
    assert 2 * (organ & inside).sum() / (organ.sum() + inside.sum()) > 0.93
    np.testing.assert_allclose(
        np.argwhere(organ).mean(axis=0), np.argwhere(inside).mean(axis=0), atol=0.2
    )  # half a voxel of the model is 1
    assert found.probability[organ].min() > 0.49
    assert found.probability[tuple(np.argwhere(inside).mean(axis=0).astype(int))] > 0.99


def test_a_model_that_does_not_fit_is_refused(ball):
    image, _ = ball
    segmentation = OrganSegmentation(OrganSegmentationConfig(channels=(4, 8)))
    with pytest.raises(InputError, match="no multiple of the prepared 2 mm"):
        predict(loaded(segmentation, spacing=3.0), image, torch.device("cpu"))
    with pytest.raises(InputError, match="is a registration model"):
        predict(loaded(MICS(MICSConfig(channels=(4, 8)))), image, torch.device("cpu"))
