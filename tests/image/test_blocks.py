"""Blocks of voxels, by hand."""

import numpy as np

from mics.image.blocks import block_majority, block_mean


def test_blocks_by_hand() -> None:
    volume = np.zeros((2, 2, 5), dtype=np.float32)
    volume[0, 0, 0] = 8
    np.testing.assert_array_equal(block_mean(volume, 2), [[[1, 0]]])
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    labels[0] = 3
    labels[1, 0, 0] = 3
    assert block_majority(labels, 2, 4).tolist() == [[[3]]]
