"""The picture that a training run draws after every epoch."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.report.training import registered


def test_the_pair_of_the_picture_is_moved_as_the_network_predicts() -> None:
    """A→B pulls from two voxels further along the first axis: what A has at 6 lies at 4."""
    a, b = torch.zeros(2, 1, 12, 10, 9)
    labels_a, labels_b = torch.zeros(2, 1, 12, 10, 9, dtype=torch.uint8)
    a[:, 6], labels_a[:, 6] = 100, 6
    b[:, 4], labels_b[:, 4] = 100, 6
    batch = {"hu": torch.stack([a, b])[None], "labels": torch.stack([labels_a, labels_b])[None]}
    displacement = torch.zeros(1, 3, 12, 10, 9)
    displacement[:, 0] = 2
    pair = registered(batch, {"displacement_ab": displacement, "displacement_ba": -displacement}, spacing_mm=8)
    assert pair.fixed.grid.spacing == (8, 8, 8)
    np.testing.assert_allclose(pair.moving_warped.array[:9], b[0, :9], atol=1e-3)
    np.testing.assert_array_equal(pair.moving_labels_warped.array[:9], labels_b[0, :9])
    np.testing.assert_allclose(pair.fixed_warped.array[3:], a[0, 3:], atol=1e-3)
