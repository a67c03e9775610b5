"""The losses by name, and their weighted sum over both directions and all steps."""

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor

from mics.deformation.field import resize, warp
from mics.losses.overlap import annotated_in_both
from mics.losses.paper import (
    Direction,
    absolute_gradient_loss,
    gradient_loss,
    inverse_loss,
    inverse_loss_mm,
    inverse_loss_unit,
    jacobian_loss,
    segmentation_loss,
    similarity_loss,
    squared_inverse_loss_unit,
    squared_segmentation_loss,
)
from mics.losses.pyramid import ncc_pyramid_loss
from mics.registry import Registry

Loss = Callable[[Direction], Tensor | None]
"""What one direction of one step gives, to a scalar; None where the loss does not apply, as without labels."""

LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "similarity": similarity_loss,
        "segmentation": segmentation_loss,
        "gradient": gradient_loss,
        "jacobian": jacobian_loss,
        "inverse": inverse_loss,
        "ncc_pyramid": ncc_pyramid_loss,
    },
)

FORMS: Mapping[str, Mapping[str, Loss]] = MappingProxyType(
    {
        "segmentation": {"plain": segmentation_loss, "squared": squared_segmentation_loss},
        "gradient": {"squared": gradient_loss, "l1": absolute_gradient_loss},
        "inverse": {
            "distance_voxels": inverse_loss,
            "distance_mm": inverse_loss_mm,
            "distance_unit": inverse_loss_unit,
            "squared_unit": squared_inverse_loss_unit,
        },
    }
)
"""Forms of the losses whose norm or unit the paper leaves open; the first of each is the loss in :data:`LOSSES`."""

PAPER_WEIGHTS = {"similarity": 1.0, "segmentation": 1.0, "gradient": 0.1, "jacobian": 1e-2, "inverse": 10.0}
"""α, β, γ, δ, ε of ``L = α Lsim + β Lseg + γ Lreg + δ Ljac + ε Linv``, as in the paper's Table 4."""


def _complete(weights: dict[str, float]) -> dict[str, float]:
    """The paper's weights where none are given. Raises for a name that no loss has."""
    for name in weights:
        if name not in LOSSES:
            nearest = difflib.get_close_matches(name, list(LOSSES), n=1, cutoff=0.0)[0]
            context = {"name": name, "nearest": nearest}
            raise PydanticCustomError("unknown_loss", "unknown setting losses.{name}; did you mean {nearest}?", context)
    return {**PAPER_WEIGHTS, **weights}


def _known_forms(forms: dict[str, str]) -> dict[str, str]:
    """The forms as they are. Raises for a loss that has none, or not this one."""
    for name, form in forms.items():
        if name not in FORMS:
            context = {"problem": f"loss_forms.{name} is no loss with forms; there are {', '.join(FORMS)}."}
            raise PydanticCustomError("unknown_form", "{problem}", context)
        if form not in FORMS[name]:
            context = {"problem": f"loss_forms.{name} is {form!r}; it can be {', '.join(FORMS[name])}."}
            raise PydanticCustomError("unknown_form", "{problem}", context)
    return forms


LossForms = Annotated[dict[str, str], AfterValidator(_known_forms)]
"""Names of :data:`FORMS` by loss; a loss that is not named has its first form."""

LossWeights = Annotated[dict[str, Annotated[float, Field(ge=0)]], AfterValidator(_complete)]
"""Weights by name of :data:`LOSSES`; those of the paper that are not given are :data:`PAPER_WEIGHTS`."""


@dataclass(frozen=True, eq=False)
class Volumes:
    """One volume of a pair: ``windows`` (B, 3, X, Y, Z) and, where labels exist, ``organs`` (B, organs, X, Y, Z)."""

    windows: Tensor
    organs: Tensor | None = None

    def resized(self, shape: tuple[int, ...]) -> "Volumes":
        """The same on another grid with the same outermost voxel centres, as that on which the fields are predicted.

        Args:
            shape: Voxels of that grid, (X, Y, Z).

        Returns:
            Windows and organs, linearly interpolated.
        """
        return Volumes(resize(self.windows, shape), None if self.organs is None else resize(self.organs, shape))


def step_losses(
    a: Volumes,
    b: Volumes,
    gradients: Tensor,
    displacement: Tensor,
    names: Collection[str] = tuple(PAPER_WEIGHTS),
    *,
    forms: Mapping[str, str] = MappingProxyType({}),
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    halvings: int = 0,
) -> dict[str, Tensor]:
    """The unweighted losses of one step.

    Args:
        a: The volume that A→B warps.
        b: The other one, on the same grid.
        gradients: ``(2, B, C, X, Y, Z)``, A→B then B→A, on the grid of ``a`` and ``b``; see :class:`mics.network.pair.Step`.
        displacement: ``(2, B, 3, X, Y, Z)``, likewise, in voxels.
        names: Of :data:`LOSSES`.
        forms: Of losses that have several, see :data:`LossForms`.
        voxel_mm: Voxel edges of the grid.
        halvings: How often the resolution of the network's input has been halved to that of the grid.

    Returns:
        By name ``(2,)``: A→B and B→A. Losses that need organs are left out where a volume has none.
    """
    directions = [
        replace(direction, voxel_mm=voxel_mm, halvings=halvings)
        for direction in _directions(a, b, gradients, displacement)
    ]
    losses = {}
    for name in names:
        loss = FORMS[name][forms[name]] if name in forms else LOSSES[name]
        forward, backward = (loss(direction) for direction in directions)
        if forward is not None and backward is not None:
            losses[name] = torch.stack([forward, backward])
    return losses


def _directions(a: Volumes, b: Volumes, gradients: Tensor, displacement: Tensor) -> list[Direction]:
    """A→B and B→A, the volumes of both warped in one call."""
    field = displacement.flatten(0, 1)
    warped = warp(torch.cat([a.windows, b.windows]), field).unflatten(0, (2, -1))
    moved: tuple[Tensor | None, ...] = (None, None)
    annotated = None
    if a.organs is not None and b.organs is not None:
        annotated = annotated_in_both(a.organs, b.organs)
        moved = warp(torch.cat([a.organs, b.organs]), field, padding="zeros").unflatten(0, (2, -1)).unbind()
    return [
        Direction(
            warped=warped[index],
            target=target.windows,
            gradients=gradients[index],
            displacement=displacement[index],
            opposite=displacement[1 - index],
            warped_organs=moved[index],
            target_organs=target.organs,
            annotated=annotated,
        )
        for index, target in enumerate((b, a))
    ]


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """``Σ weight · loss`` over the losses that are there.

    Args:
        losses: By name, of whatever shape (steps, directions): its sum counts.
        weights: By name, at least of those losses.

    Returns:
        A scalar.
    """
    return torch.stack([weights[name] * value.sum() for name, value in losses.items()]).sum()
