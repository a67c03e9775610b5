"""The weighted sum of the five losses over both directions and all steps."""

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mics.deformation.field import resize, warp
from mics.losses.gradient import gradient_loss
from mics.losses.inverse import inverse_loss
from mics.losses.jacobian import jacobian_loss
from mics.losses.segmentation import annotated_in_both, dice_loss
from mics.losses.similarity import similarity_loss


class LossWeights(BaseModel):
    """α, β, γ, δ, ε of ``L = α Lsim + β Lseg + γ Lreg + δ Ljac + ε Linv``; the defaults are those of the paper's Table 4."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    similarity: float = 1.0
    segmentation: float = 1.0
    gradient: float = 0.1
    jacobian: float = 1e-2
    inverse: float = 10.0


@dataclass(frozen=True)
class Volumes:
    """One volume of a pair: ``windows`` (B, 3, X, Y, Z) and, where labels exist, ``organs`` (B, organs, X, Y, Z)."""

    windows: Tensor
    organs: Tensor | None = None

    def resized(self, shape: tuple[int, ...]) -> "Volumes":
        """The same on the grid on which the fields are predicted."""
        return Volumes(resize(self.windows, shape), None if self.organs is None else resize(self.organs, shape))


def step_losses(a: Volumes, b: Volumes, gradients: Tensor, displacement: Tensor) -> dict[str, Tensor]:
    """The unweighted losses of one step, each summed over both directions.

    ``gradients`` and ``displacement`` are ``(2, B, 3, X, Y, Z)``, A→B then B→A, on the grid of ``a`` and ``b``. Losses
    that need organs are left out where a volume has none.
    """
    source = torch.cat([a.windows, b.windows])
    target = torch.cat([b.windows, a.windows])
    field = displacement.flatten(0, 1)
    losses = {
        "similarity": 2 * similarity_loss(warp(source, field), target),
        "gradient": 2 * gradient_loss(gradients.flatten(0, 1)),
        "jacobian": 2 * jacobian_loss(field),
        "inverse": inverse_loss(displacement[0], displacement[1]),
    }
    if a.organs is not None and b.organs is not None:
        mask = annotated_in_both(a.organs, b.organs).repeat(2, 1)
        warped = warp(torch.cat([a.organs, b.organs]), field, padding="zeros")
        losses["segmentation"] = 2 * dice_loss(warped, torch.cat([b.organs, a.organs]), mask)
    return losses


def weighted_sum(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """``Σ weight · loss`` over the losses that are there."""
    return torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
