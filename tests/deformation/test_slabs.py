"""Linear interpolation of a volume at the voxels of another grid, against scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from mics.deformation.slabs import resampled

PARALLEL = np.array([[-0.4, 0, 0, 8.3], [0, 1.7, 0, -2.0], [0, 0, 0.9, 1.2], [0, 0, 0, 1]])
TURNED = PARALLEL + np.array([[0, 0.1, 0, 0], [-0.1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("matrix", [PARALLEL, TURNED], ids=["parallel axes", "turned axes"])
@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 1, 7)])
def test_values_are_those_of_scipy_beyond_the_volume_too(matrix, shape):
    volume, size = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32), (30, 6, 9)
    places = np.einsum("ij,jxyz->ixyz", matrix, np.concatenate([np.indices(size), np.ones((1, *size))]))[:3]
    expected = np.stack([map_coordinates(channel, places, order=1, mode="nearest") for channel in volume])
    found = resampled(torch.from_numpy(volume)[None], matrix, size)
    assert found.shape == (2, *size)
    np.testing.assert_allclose(found, expected, atol=1e-4)
