"""Volumes at a multiple of their voxel edge, by blocks of voxels; and by their planes, so that no second volume is made."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def block_mean(array: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Average of ``factor``³ blocks of (X, Y, Z); voxels that fill no block at the high ends are dropped."""
    x, y, z = (n // factor for n in array.shape)
    blocks = array[: x * factor, : y * factor, : z * factor].reshape(x, factor, y, factor, z, factor)
    mean: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return mean


def block_majority(labels: NDArray[np.uint8], factor: int, count: int) -> NDArray[np.uint8]:
    """The label with the largest share of each ``factor``³ block; ``count`` labels, background included."""
    shares = [block_mean((labels == label).astype(np.float32), factor) for label in range(count)]
    largest: NDArray[np.uint8] = np.argmax(shares, axis=0).astype(np.uint8)
    return largest


def by_planes(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Views of the same planes of arrays of one shape, one after the other, along the slowest axis of the first one's memory."""
    axis = int(np.argmax(np.abs(arrays[0].strides)))
    yield from zip(*(np.moveaxis(array, axis, 0) for array in arrays), strict=True)
