"""Linv: inverse consistency of the two directions."""

from torch import Tensor

from mics.deformation.field import compose


def inverse_loss(displacement: Tensor, back: Tensor) -> Tensor:
    """Mean distance in voxels of each voxel from where ``displacement`` and then ``back`` take its value from.

    Both ``(B, 3, X, Y, Z)`` in voxels of one grid. One term of the paper's ``‖Φ(A→B)∘Φ(B→A) − Id‖ + ‖Φ(B→A)∘Φ(A→B) − Id‖``;
    the other has the arguments swapped. Scalar.
    """
    # The constant keeps the derivative of the root finite where the two directions agree exactly.
    return (compose(displacement, back).square().sum(1) + 1e-8).sqrt().mean()
