"""The five losses of the paper (section 3.5), each of one direction of one step, in the forms that its text leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mics.deformation.field import compose
from mics.deformation.jacobian import jacobian_determinant
from mics.losses.overlap import dice_loss


@dataclass(frozen=True, eq=False)
class Direction:
    """Arguments of a loss: one direction of one step of a registration network, on the grid of the field.

    Lengths are in voxels of that grid. ``moving`` stands for the volume that is warped, which is A for A→B and B for B→A.
    """

    warped: Tensor
    """HU windows of the moving volume, warped by ``displacement``, ``(B, 3, X, Y, Z)`` in [0, 1]."""
    target: Tensor
    """HU windows of the other volume, likewise."""
    gradients: Tensor
    """Derivatives that this step adds, plus one, ``(B, C, X, Y, Z)`` (:class:`mics.network.pair.Step`)."""
    displacement: Tensor
    """Displacement of all steps up to this one, ``(B, 3, X, Y, Z)``: voxel x is filled from ``x + displacement(x)``."""
    opposite: Tensor
    """Displacement of the other direction, likewise."""
    warped_organs: Tensor | None = None
    """Organ maps of the moving volume, warped, ``(B, organs, X, Y, Z)``; None where a volume has no labels."""
    target_organs: Tensor | None = None
    """Organ maps of the other volume, likewise."""
    annotated: Tensor | None = None
    """Organs that both volumes contain, ``(B, organs)``."""
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Voxel edges of the grid."""
    halvings: int = 0
    """Number of halvings from the resolution of the network's input to that of the grid."""


def similarity_loss(direction: Direction) -> Tensor:
    """Lsim: mean squared error over the HU windows.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar.
    """
    return (direction.warped - direction.target).square().mean()


def segmentation_loss(direction: Direction) -> Tensor | None:
    """Lseg: one minus the soft Dice of the organs that both volumes contain.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar in [0, 1]; None without labels.
    """
    return _overlap(direction, squared=False)


def squared_segmentation_loss(direction: Direction) -> Tensor | None:
    """Lseg with the squares in Dice's denominator (Milletari et al. 2016, which the paper cites).

    Args:
        direction: One direction of one step.

    Returns:
        A scalar in [0, 1]; None without labels.
    """
    return _overlap(direction, squared=True)


def _overlap(direction: Direction, *, squared: bool) -> Tensor | None:
    if direction.warped_organs is None or direction.target_organs is None:
        return None
    return dice_loss(direction.warped_organs, direction.target_organs, direction.annotated, squared=squared)


def gradient_loss(direction: Direction) -> Tensor:
    """Lreg with squares: mean squared deviation of the predicted derivatives of Φ from the identity's (one).

    Args:
        direction: One direction of one step.

    Returns:
        A scalar, without unit.
    """
    return (direction.gradients - 1).square().mean()


def absolute_gradient_loss(direction: Direction) -> Tensor:
    """Lreg as the paper writes it, ‖∇Φ‖ without a square (its eq. 6): mean absolute deviation from the identity's.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar, without unit.
    """
    return (direction.gradients - 1).abs().mean()


def jacobian_loss(direction: Direction) -> Tensor:
    """Ljac: mean over voxels of ``max(0, -|J|)``, which only folds have.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar, without unit.
    """
    return (-jacobian_determinant(direction.displacement)).clamp_min(0).mean()


def inverse_loss(direction: Direction) -> Tensor:
    """Linv in voxels: mean distance of each voxel from where this and then the opposite direction take its value from.

    One term of the paper's ``‖Φ(A→B)∘Φ(B→A) − Id‖ + ‖Φ(B→A)∘Φ(A→B) − Id‖`` (eq. 8); the other direction has the other. The
    paper names no unit and no square; docs/paper.md says what each form does at its weight.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar in voxels.
    """
    return _distance(_residual(direction))


def inverse_loss_mm(direction: Direction) -> Tensor:
    """Linv in mm: the mean distance of :func:`inverse_loss`, whatever the voxels.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar in mm.
    """
    return _distance(_residual(direction) * _per_axis(direction.voxel_mm, direction))


def inverse_loss_unit(direction: Direction) -> Tensor:
    """Linv as a mean distance in normalised coordinates: the grid is 2 long on each axis, whatever the voxels.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar, without unit.
    """
    return _distance(_normalised(direction))


def squared_inverse_loss_unit(direction: Direction) -> Tensor:
    """Linv as a mean square in normalised coordinates: of the lengths whose mean is :func:`inverse_loss_unit`.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar, without unit.
    """
    return _normalised(direction).square().sum(1).mean()


def _residual(direction: Direction) -> Tensor:
    """The inverse-consistency residual of each voxel, ``(B, 3, X, Y, Z)`` in voxels."""
    return compose(direction.opposite, direction.displacement)


def _normalised(direction: Direction) -> Tensor:
    """The same in the coordinates of ``grid_sample``, -1 to 1 between the outermost voxel centres of each axis."""
    return _residual(direction) * _per_axis([2 / max(n - 1, 1) for n in direction.displacement.shape[2:]], direction)


def _per_axis(factors: Sequence[float], direction: Direction) -> Tensor:
    return torch.tensor(factors, device=direction.displacement.device).view(1, 3, 1, 1, 1)


def _distance(vectors: Tensor) -> Tensor:
    # The constant keeps the derivative of the root finite where the two directions agree exactly.
    return (vectors.square().sum(1) + 1e-8).sqrt().mean()
