"""The weighted sum of the five losses over both directions and all steps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mics.deformation.field import resize, warp
from mics.losses.gradient import gradient_loss
from mics.losses.inverse import inverse_loss
from mics.losses.jacobian import jacobian_loss
from mics.losses.segmentation import annotated_in_both, dice_loss
from mics.losses.similarity import similarity_loss


class LossWeights(BaseModel):
    """α, β, γ, δ, ε of ``L = α Lsim + β Lseg + γ Lreg + δ Ljac + ε Linv``; the defaults are those of the paper's Table 4."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    similarity: float = Field(1.0, ge=0)
    segmentation: float = Field(1.0, ge=0)
    gradient: float = Field(0.1, ge=0)
    jacobian: float = Field(1e-2, ge=0)
    inverse: float = Field(10.0, ge=0)


@dataclass(frozen=True)
class Volumes:
    """One volume of a pair: ``windows`` (B, 3, X, Y, Z) and, where labels exist, ``organs`` (B, organs, X, Y, Z)."""

    windows: Tensor
    organs: Tensor | None = None

    def resized(self, shape: tuple[int, ...]) -> "Volumes":
        """The same on the grid on which the fields are predicted."""
        return Volumes(resize(self.windows, shape), None if self.organs is None else resize(self.organs, shape))


def step_losses(a: Volumes, b: Volumes, gradients: Tensor, displacement: Tensor) -> dict[str, Tensor]:
    """The unweighted losses of one step, each ``(2,)``: A→B and B→A.

    ``gradients`` and ``displacement`` are ``(2, B, 3, X, Y, Z)``, A→B then B→A, on the grid of ``a`` and ``b``. Losses
    that need organs are left out where a volume has none.
    """
    targets = torch.stack([b.windows, a.windows])
    field = displacement.flatten(0, 1)
    warped = warp(torch.cat([a.windows, b.windows]), field).unflatten(0, (2, -1))
    losses = {
        "similarity": _per_direction(similarity_loss, warped, targets),
        "gradient": _per_direction(gradient_loss, gradients),
        "jacobian": _per_direction(jacobian_loss, displacement),
        "inverse": _per_direction(inverse_loss, displacement, displacement.flip(0)),
    }
    if a.organs is not None and b.organs is not None:
        mask = annotated_in_both(a.organs, b.organs)
        moved = warp(torch.cat([a.organs, b.organs]), field, padding="zeros").unflatten(0, (2, -1))
        masks = torch.stack([mask, mask])
        losses["segmentation"] = _per_direction(dice_loss, moved, torch.stack([b.organs, a.organs]), masks)
    return losses


def _per_direction(loss: Callable[..., Tensor], *pairs: Tensor) -> Tensor:
    """``loss`` of the A→B members and of the B→A members, ``(2,)``."""
    return torch.stack([loss(*(pair[direction] for pair in pairs)) for direction in (0, 1)])


def weighted_sum(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """``Σ weight · loss`` over the losses that are there and over whatever shape they have (steps, directions)."""
    return torch.stack([getattr(weights, name) * value.sum() for name, value in losses.items()]).sum()
