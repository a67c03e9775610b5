"""Ljac: folds."""

from torch import Tensor

from mics.deformation.jacobian import jacobian_determinant


def jacobian_loss(displacement: Tensor) -> Tensor:
    """Mean over voxels of ``max(0, -|J|)`` for a displacement ``(B, 3, X, Y, Z)`` in voxels. Scalar."""
    return (-jacobian_determinant(displacement)).clamp_min(0).mean()
