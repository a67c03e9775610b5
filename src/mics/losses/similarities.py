"""The similarities by which the refinement may compare two volumes."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from mics.losses.correlation import LocalNCC
from mics.registry import Registry


class Similarity(Protocol):
    """Compares volumes with a target that stays the same and is given when it is made."""

    margin: int
    """Voxels at each border of the target that have no value, because the neighbourhood that it needs leaves the volume."""

    def loss(self, warped: Tensor, mask: Tensor) -> Tensor:
        """How unlike the target a volume is.

        Args:
            warped: ``(B, 1, X, Y, Z)`` like the target.
            mask: ``(B, 1, X, Y, Z)``, by how much each voxel counts.

        Returns:
            A scalar, the mean over the mask; small is good.
        """
        ...


SIMILARITIES: Registry[Callable[[Tensor], Similarity]] = Registry("similarity", {"lncc": LocalNCC})
"""What makes a :class:`Similarity` of its target, ``(B, 1, X, Y, Z)`` in [0, 1], by the name that the settings give."""
