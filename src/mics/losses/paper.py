"""The five losses of the paper (section 3.3), each of one direction of one step."""

from dataclasses import dataclass

from torch import Tensor

from mics.deformation.field import compose
from mics.deformation.jacobian import jacobian_determinant
from mics.losses.segmentation import dice_loss


@dataclass(frozen=True)
class Direction:
    """What a loss may look at: one direction of one step of a registration network, on the grid of the field.

    Lengths are in voxels of that grid. ``moving`` stands for the volume that is warped, which is A for A→B and B for B→A.
    """

    warped: Tensor
    """HU windows of the moving volume, warped by ``displacement``, ``(B, 3, X, Y, Z)`` in [0, 1]."""
    target: Tensor
    """HU windows of the other volume, likewise."""
    gradients: Tensor
    """Derivatives that this step adds, plus one, ``(B, C, X, Y, Z)`` (:class:`mics.network.pair.Step`)."""
    displacement: Tensor
    """Of all steps up to this one, ``(B, 3, X, Y, Z)``: voxel x is filled from ``x + displacement(x)``."""
    opposite: Tensor
    """The same of the other direction."""
    warped_organs: Tensor | None = None
    """Organ maps of the moving volume, warped, ``(B, organs, X, Y, Z)``; None where a volume has no labels."""
    target_organs: Tensor | None = None
    """Organ maps of the other volume, likewise."""
    annotated: Tensor | None = None
    """Organs that both volumes contain, ``(B, organs)``."""


def similarity_loss(direction: Direction) -> Tensor:
    """Lsim: mean squared error over the HU windows. Scalar."""
    return (direction.warped - direction.target).square().mean()


def segmentation_loss(direction: Direction) -> Tensor | None:
    """Lseg: one minus the soft Dice of the organs that both volumes contain. Scalar; None without labels."""
    if direction.warped_organs is None or direction.target_organs is None:
        return None
    return dice_loss(direction.warped_organs, direction.target_organs, direction.annotated)


def gradient_loss(direction: Direction) -> Tensor:
    """Lreg: mean squared deviation of the predicted derivatives of Φ from the identity's (one). Scalar.

    The paper writes ‖∇Φ‖ without naming the norm; squares penalise the high gradients that it wants to avoid.
    """
    return (direction.gradients - 1).square().mean()


def jacobian_loss(direction: Direction) -> Tensor:
    """Ljac: mean over voxels of ``max(0, -|J|)``, which only folds have. Scalar."""
    return (-jacobian_determinant(direction.displacement)).clamp_min(0).mean()


def inverse_loss(direction: Direction) -> Tensor:
    """Linv: mean distance in voxels of each voxel from where this and then the opposite direction take its value from.

    One term of the paper's ``‖Φ(A→B)∘Φ(B→A) − Id‖ + ‖Φ(B→A)∘Φ(A→B) − Id‖``; the other direction has the other. Scalar.
    """
    # The constant keeps the derivative of the root finite where the two directions agree exactly.
    return (compose(direction.displacement, direction.opposite).square().sum(1) + 1e-8).sqrt().mean()
