"""Is a submitted displacement in the units, order and direction that the challenge wants?"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mics.image.io import Image

_STEP = 4
_CLEARLY = 0.1

Places = NDArray[np.floating]
Convention = Callable[[Places, Places, Image], Places]


def _size(moving: Image) -> NDArray[np.float32]:
    return np.array(moving.grid.size, np.float32)[:, None]


CONVENTIONS: dict[str, Convention] = {
    "as the challenge wants them": lambda d, x, moving: d,
    "as millimetres": lambda d, x, moving: d / np.array(moving.grid.spacing, np.float32)[:, None],
    "with the opposite sign": lambda d, x, moving: -d,
    "with the components in the reverse order": lambda d, x, moving: d[::-1],
    "as places instead of displacements": lambda d, x, moving: d - x,
    "as shares of the volume's extent, from -1 to 1 and in the reverse order": (
        lambda d, x, moving: d[::-1] * (_size(moving) - 1) / 2
    ),
}


def overlaps(displacement: NDArray[np.float32], *, fixed: Image, moving: Image) -> dict[str, float]:
    """Mean Dice on every fourth voxel for each way to read the numbers of a displacement ``(3, X, Y, Z)``."""
    subsampled = tuple(slice(None, None, _STEP) for _ in range(3))
    target = fixed.array[subsampled].ravel()
    x = np.indices(fixed.grid.size, dtype=np.float32)[:, *subsampled].reshape(3, -1)
    d = displacement[:, *subsampled].reshape(3, -1)
    return {
        name: _dice(target, _nearest(moving, x + convention(d, x, moving))) for name, convention in CONVENTIONS.items()
    }


def convention_warning(found: Sequence[dict[str, float]]) -> str | None:
    """A sentence if, over all pairs, another way to read the numbers fits clearly better."""
    means = {name: float(np.mean([pair[name] for pair in found])) for name in CONVENTIONS}
    usual, *_ = CONVENTIONS
    best = max(means, key=lambda name: means[name])
    if means[best] < means[usual] + _CLEARLY:
        return None
    return (
        f"The displacements look wrong: read {best}, they would give Dice {means[best]:.2f} instead of "
        f"{means[usual]:.2f}. Learn2Reg wants voxels, in the array's order, from each fixed voxel to its place in the "
        "moving volume."
    )


def _nearest(moving: Image, place: Places) -> NDArray[np.integer]:
    """Labels at voxel places (3, N); background beyond the volume."""
    voxel = np.rint(np.clip(place, -2, _size(moving) + 1)).astype(np.int64)
    inside = np.all((voxel >= 0) & (voxel < _size(moving)), axis=0)
    labels = np.zeros(place.shape[1], moving.array.dtype)
    labels[inside] = moving.array[tuple(voxel[:, inside])]
    return labels


def _dice(fixed: NDArray[np.integer], warped: NDArray[np.integer]) -> float:
    """Mean over the labels of ``fixed`` on the few voxels looked at."""
    labels = np.unique(fixed[fixed > 0])
    sizes = [(np.sum((fixed == n) & (warped == n)), np.sum(fixed == n) + np.sum(warped == n)) for n in labels]
    return float(np.mean([2 * common / total for common, total in sizes])) if sizes else 0.0
