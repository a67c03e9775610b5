"""Inverse consistency by construction: velocities that are odd in the pair, composed in halves, coarse to fine.

The velocity of B→A is exactly the negative of that of A→B, so one flow serves both directions (Greer et al. 2023). Both
volumes move towards each other, each by half of the deformation, and what a later prediction adds goes between the halves:
Φ(A→B) = exp(v₁/2) ∘ … ∘ exp(vₙ/2) ∘ exp(vₙ/2) ∘ … ∘ exp(v₁/2), whose inverse is the same with every sign turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from mics.deformation.field import compose, exponentiate, resize_displacement, warp
from mics.deformation.inverse import correct_inverse_consistency, swap_directions
from mics.network.blocks import Convolution
from mics.network.pair import Prediction, RegistrationUNet, RegistrationUNetConfig, Step, initial_displacement
from mics.network.precision import full_precision

_SQUARINGS = 2
"""Half of a velocity is at most a few voxels of its own grid."""


class Flow:
    """The composition of all velocities so far, on a grid of ``shape``; tensors are ``(2 * B, 3, *shape)``, A→B first."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.half: Tensor | None = None
        """exp(v₁/2) ∘ … ∘ exp(vₙ/2), the first half: warps A, and for the other direction B. None before any velocity."""
        self.rest: Tensor | None = None
        """exp(vₙ/2) ∘ … ∘ exp(v₁/2): the other half."""

    def add(self, velocity: Tensor) -> None:
        """Append a velocity, integrated on its own grid, as that is cheapest.

        Args:
            velocity: ``(2 * B, 3, …)`` in voxels of its own grid, which lies over the same box.
        """
        half = resize_displacement(exponentiate(velocity / 2, squarings=_SQUARINGS), self.shape)
        self._append(half, half)

    def append(self, other: "Flow") -> None:
        """Append all of another one's velocities, in their order.

        Args:
            other: On a grid of the same shape; without a velocity, it changes nothing.
        """
        if other.half is not None and other.rest is not None:
            self._append(other.half, other.rest)

    def displacement(self) -> Tensor:
        """The whole composition as a displacement.

        Returns:
            ``(2, B, 3, *shape)`` float32, A→B first, in voxels.

        Raises:
            ValueError: Before any velocity.
        """
        if self.half is None or self.rest is None:
            raise ValueError("No velocity was added.")
        return _both(compose(self.rest, self.half))

    def _append(self, half: Tensor, rest: Tensor) -> None:
        self.half = half if self.half is None else compose(half, self.half)
        self.rest = rest if self.rest is None else compose(self.rest, rest)


@dataclass(frozen=True, eq=False)
class FlowPrediction(Prediction):
    """A prediction that keeps its velocities, coarse to fine, step by step."""

    velocities: list[Tensor] = field(default_factory=list)

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Both displacements over the padded input's box.

        Integrated as in training, interpolated, and what interpolation has spoiled of the inverse corrected on that grid
        (:func:`mics.deformation.inverse.correct_inverse_consistency`): finer ones have the better inverse.

        Args:
            shape: Of the grid, with the padded input's outermost voxel centres.

        Returns:
            ``(2, B, 3, *shape)`` float32, A→B first, in voxels of that grid.
        """
        flow = Flow(self.velocities[-1].shape[2:])
        for velocity in self.velocities:
            flow.add(velocity)
        return torch.stack(
            correct_inverse_consistency(*(resize_displacement(own, shape) for own in flow.displacement()))
        )


class VelocityConfig(RegistrationUNetConfig):
    """Settings of :class:`VelocityMICS`."""

    inverse_by_construction: ClassVar[bool] = True
    flip_averaging: ClassVar[bool] = True

    kind: Literal["velocity"] = "velocity"
    velocity_levels: int = Field(ge=1)
    """Number of levels, from the finest, that predict a velocity."""

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if self.velocity_levels > len(self.channels):
            raise ValueError(f"velocity_levels is {self.velocity_levels}, of {len(self.channels)} levels")
        return self


class VelocityMICS(RegistrationUNet):
    """Predicts velocities at its ``velocity_levels`` finest levels, from the deepest of them to the finest.

    Before a level is compared, the features of both volumes are warped by half of the deformation that the deeper levels found,
    so that large displacements come from the coarse levels and the fine ones correct them.
    """

    config: VelocityConfig

    def __init__(self, config: VelocityConfig) -> None:
        super().__init__(config)
        channels = config.channels[: config.velocity_levels]
        heads = [Convolution(count, 3) for count in channels]
        for head in heads:
            nn.init.normal_(head.weight, std=1e-3)
        self.velocity_heads = nn.ModuleList(heads)

    def forward(self, a: Tensor, b: Tensor, *, steps: int = 2) -> FlowPrediction:
        """Register two volumes in several steps.

        At step i both volumes are warped by half of the deformation that the steps so far have found, in one interpolation.

        Args:
            a: As :meth:`mics.network.mics.MICS.forward` takes it.
            b: The other one, on the same grid.
            steps: At least one.

        Returns:
            Both deformations after every step, and the velocities that make them.
        """
        originals = self.padded(a, b)
        flow: Flow | None = None
        velocities: list[Tensor] = []
        results: list[Step] = []
        for _ in range(steps):
            moved = initial_displacement(steps, originals) if flow is None else flow.half
            with full_precision(originals.device):
                features = self.encode(originals, moved)
            within, added = self._descend(features)
            flow = Flow(within.shape) if flow is None else flow
            flow.append(within)
            velocities += added
            total = torch.stack([resize_displacement(velocity, flow.shape) for velocity in added]).sum(dim=0)
            results.append(Step(1 + _both(derivatives(total)), flow.displacement()))
        return FlowPrediction(tuple(results), tuple(originals.shape[2:]), tuple(a.shape[2:]), velocities)

    def flip_averaged(self, a: Tensor, b: Tensor, *, steps: int = 2) -> FlowPrediction:
        """:meth:`forward`, averaged over the pair and its mirror image; for a network that was trained on such images too.

        Averaged are the velocities, which stay odd in the pair, so that the directions stay inverse to each other. The mirror
        image is that along the first axis, which runs from left to right or back.

        Args:
            a: As of :meth:`forward`.
            b: As of :meth:`forward`.
            steps: As of :meth:`forward`.

        Returns:
            Both deformations; there are no ``steps`` to look at.
        """
        originals = self.padded(a, b)  # so that the image's grid is that of the pair, flipped
        pairs = (torch.cat([volume, volume.flip(2)]) for volume in originals.chunk(2))
        prediction: FlowPrediction = self(*pairs, steps=steps)
        means = [_mean_of_mirror_images(velocity) for velocity in prediction.velocities]
        return replace(prediction, steps=(), shape=tuple(a.shape[2:]), velocities=means)

    def _descend(self, features: Sequence[Tensor]) -> tuple[Flow, list[Tensor]]:
        """One step: its flow on the finest grid, and its velocities, coarse to fine, from the ``features`` of its volumes."""
        within = Flow(features[0].shape[2:])
        velocities: list[Tensor] = []
        decoded: Tensor | None = None
        for level in reversed(range(len(features))):
            moved = features[level]
            if within.half is not None:
                moved = warp(moved, resize_displacement(within.half, moved.shape[2:])).to(moved.dtype)
            difference = moved - swap_directions(moved)
            decoded = difference if decoded is None else self.decoder.decode_level(level, decoded, difference)
            if level < len(self.velocity_heads):
                logits: Tensor = self.velocity_heads[level](decoded).float()
                with torch.autocast(logits.device.type, enabled=False):
                    velocity = (logits - swap_directions(logits)) / 2
                    velocities.append(velocity)
                    within.add(velocity)
        return within, velocities


def _mean_of_mirror_images(velocity: Tensor) -> Tensor:
    """``(4 * B, 3, …)``, of A→B, of its image flipped along X, and of B→A likewise, to ``(2 * B, 3, …)``."""
    as_it_lies, mirrored = (part.flatten(0, 1) for part in velocity.unflatten(0, (2, 2, -1)).unbind(dim=1))
    # Flipped back, where the first component changes its sign.
    signs = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float32, device=velocity.device).view(1, 3, 1, 1, 1)
    flipped_back = mirrored.flip(2) * signs
    mean: Tensor = (as_it_lies + flipped_back) / 2
    return mean


def _both(stacked: Tensor) -> Tensor:
    """``(2 * B, …)`` as ``(2, B, …)``."""
    return stacked.reshape(2, -1, *stacked.shape[1:])


def derivatives(velocity: Tensor) -> Tensor:
    """All nine forward differences, zero at the last voxel of each axis.

    Args:
        velocity: ``(B, 3, X, Y, Z)`` in voxels.

    Returns:
        ``(B, 9, X, Y, Z)``, those of all three components along the first axis first.
    """
    parts = []
    for axis in (2, 3, 4):
        last = torch.zeros_like(velocity.narrow(axis, 0, 1))
        parts.append(torch.cat([velocity.diff(dim=axis), last], dim=axis))
    return torch.cat(parts, dim=1)
