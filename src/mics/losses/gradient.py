"""Lreg: regularity of the predicted gradients."""

from torch import Tensor


def gradient_loss(gradients: Tensor) -> Tensor:
    """Mean squared deviation of the predicted derivatives of Φ from the identity's (one).

    ``gradients`` is ``(B, 3, X, Y, Z)``, the diagonal of the Jacobian matrix in voxels per voxel. The paper writes ‖∇Φ‖
    without naming the norm; squares penalise the high gradients that it wants to avoid. Scalar.
    """
    return (gradients - 1).square().mean()
