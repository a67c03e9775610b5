"""A group of scans on one grid: their mean, how much they differ, and how well their labels overlap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image

_SHARE_IN_VIEW = 0.5
"""Of the members: what fewer of them see is air in their mean."""


class GroupMean:
    """Mean and spread of scans that are added one by one; a scan counts where it is in view."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.count = grid, 0
        self._seen = np.zeros(grid.size, np.float32)
        self._sum, self._squares = np.zeros(grid.size), np.zeros(grid.size)

    def add(self, hu: NDArray[np.floating], in_view: NDArray[np.bool_]) -> None:
        """Add a scan (X, Y, Z) on the grid."""
        self.count += 1
        self._seen += in_view
        values = np.where(in_view, hu, 0).astype(np.float64)
        self._sum += values
        self._squares += values**2

    @property
    def in_view(self) -> NDArray[np.bool_]:
        """What at least half of the members see, (X, Y, Z)."""
        return (self._seen > 0) & (self._seen >= _SHARE_IN_VIEW * self.count)

    def image(self) -> Image:
        """The mean in HU, float32; air where fewer than half of the members see anything."""
        mean = np.full(self.grid.size, AIR_HU)
        np.divide(self._sum, self._seen, out=mean, where=self.in_view)
        return Image(mean.astype(np.float32), self.grid)

    def spread(self) -> float:
        """Standard deviation over the members in HU, root mean square over what half of them see."""
        seen, in_view = self._seen[self.in_view], self.in_view
        variance = self._squares[in_view] / seen - (self._sum[in_view] / seen) ** 2
        return float(np.sqrt(np.maximum(variance, 0).mean()))

    def sharpness(self) -> float:
        """Mean length of the mean image's gradient over what half of the members see, HU per mm."""
        slopes = np.gradient(self.image().array, *self.grid.spacing)
        return float(np.sqrt(sum(slope**2 for slope in slopes))[self.in_view].mean())


def pairwise_dice(maps: Sequence[NDArray[np.integer]]) -> float | None:
    """Dice of label maps (X, Y, Z) on one grid: the mean over all pairs of maps of the mean over the labels that both show.

    None where no two maps share a label.
    """
    somewhere = np.any([labels > 0 for labels in maps], axis=0)
    shown = np.stack([labels[somewhere] for labels in maps])
    sums, counts = np.zeros((len(maps),) * 2), np.zeros((len(maps),) * 2)
    for label in np.unique(shown[shown > 0]):
        own = (shown == label).astype(np.float32)
        sizes, both = own.sum(axis=1), own @ own.T
        shared = (sizes[:, None] > 0) & (sizes[None, :] > 0)
        sums += np.divide(2 * both, sizes[:, None] + sizes[None, :], out=np.zeros_like(both), where=shared)
        counts += shared
    pairs = np.triu(counts > 0, k=1)
    return float((sums[pairs] / counts[pairs]).mean()) if pairs.any() else None
