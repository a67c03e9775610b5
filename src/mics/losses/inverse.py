"""Linv: inverse consistency of the two directions."""

from torch import Tensor

from mics.deformation.field import compose


def inverse_loss(displacement_ab: Tensor, displacement_ba: Tensor) -> Tensor:
    """Mean distance in voxels from where ``Φ(A→B)∘Φ(B→A)`` takes a voxel to that voxel, plus the same the other way.

    Both ``(B, 3, X, Y, Z)`` in voxels of one grid. Scalar.
    """
    there_and_back = compose(displacement_ab, displacement_ba)
    back_and_there = compose(displacement_ba, displacement_ab)
    return _mean_length(there_and_back) + _mean_length(back_and_there)


def _mean_length(displacement: Tensor) -> Tensor:
    # The constant keeps the derivative of the root finite where the two directions agree exactly.
    return (displacement.square().sum(1) + 1e-8).sqrt().mean()
