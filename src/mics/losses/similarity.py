"""Lsim: similarity of the warped and the target volume."""

from torch import Tensor


def similarity_loss(warped: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the HU windows; both ``(B, C, X, Y, Z)`` in [0, 1]. Scalar."""
    return (warped - target).square().mean()
