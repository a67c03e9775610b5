"""Terms of the refinement's loss for given labels, for landmarks, and for what keeps its shape."""

import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.field import downsample, exponentiate, identity, sample, voxel_ratio
from mics.losses.overlap import bray_curtis_loss
from mics.network.blocks import to_channels_last
from mics.registration.guides import Guides
from mics.registration.refine_settings import Level, RefineSettings
from mics.registration.voxel_subset import VoxelSubset

_RAMP = 1.5
"""Voxels from a label's border on either side over which its map goes from one to zero: so far it is felt."""
_SPREAD_MM = 24.0
"""Edge of the two averages by which a landmark's pull is spread over its surroundings."""
_MET_MM = 1.0
"""Below this distance a landmark pulls less and less."""
_RIGID = 0.25
"""Of a voxel, how much of it keeps its shape where the penalty looks."""
_COARSEST_RIGID_MM = 8.0
"""Of a velocity's grid: a voxel of a coarser one holds more of what lies around a bone, which would be held with it."""
_PIECE_MM = 20.0
"""Edge of the cube over which a bone moves as one."""
_BENDING_MM = 10.0
"""Length over which a change of the derivatives counts as much as a stretch of the same size."""


class GuideTerms:
    """The guides of a pair at the resolutions of one level of the refinement.

    ``masks`` (2, 1, X, Y, Z) tell where either scan has data that count, on the grid of the organ maps.
    """

    def __init__(
        self,
        guides: Guides,
        masks: Tensor,
        level: Level,
        settings: RefineSettings,
        *,
        velocity_grid: list[int],
        spacing_mm: float,
        shape: tuple[int, ...],
    ) -> None:
        self.settings = settings
        organ_grid = masks.shape[2:]
        self.maps: Tensor | None = None
        near = None
        if guides.labels is not None and settings.labels:
            distances = downsample(guides.labels, organ_grid)
            maps = (0.5 - distances / (2 * _RAMP * level.organs_mm)).clamp(0, 1)
            near = maps.amax((0, 1)) > 0
        if near is not None and near.any():  # labels beyond the grid lead nothing
            self.maps = to_channels_last(torch.cat([maps, masks], dim=1))
            self.near = VoxelSubset.where(near)
            self.wanted = self.near.of(self.maps).flip(0)
        self.edges_mm = (spacing_mm / voxel_ratio(shape, velocity_grid)).to(masks.device)
        self.points: Tensor | None = None
        if guides.points is not None and settings.landmarks:
            self.points = guides.points * voxel_ratio(shape, velocity_grid, device=masks.device)
            self.width = 2 * round((_SPREAD_MM / level.velocity_mm - 1) / 2) + 1
        self.stiff: Stiff | None = None
        if guides.rigid is not None and settings.rigidity and level.velocity_mm <= _COARSEST_RIGID_MM:
            rigid = downsample(guides.rigid, velocity_grid)
            self.stiff, self.pieces = Stiff(rigid, self.edges_mm), RigidPieces(rigid, self.edges_mm)

    def loss(self, velocity: Tensor, both: Tensor, on_organs: Tensor) -> Tensor:
        """The loss of a velocity; ``both`` are its two displacements, ``on_organs`` the same on the grid of the organ maps."""
        loss = velocity.new_zeros(())
        if self.maps is not None:
            moved = sample(self.maps, self.near.indices + self.near.of(on_organs))
            valid = moved[:, -1:] * self.wanted[:, -1:]
            loss = loss + self.settings.labels * bray_curtis_loss(moved[:, :-1] * valid, self.wanted[:, :-1] * valid)
        if self.points is not None:
            loss = loss + self.settings.landmarks * self._landmark_error(velocity)
        if self.stiff is not None:
            loss = loss + self.settings.rigidity * self.stiff.loss(both)
        return loss

    def project(self, velocity: Tensor) -> None:
        """Make ``velocity`` nearly rigid, in place, where what it moves keeps its shape."""
        if self.stiff is not None:
            self.pieces.project(velocity)

    def _landmark_error(self, velocity: Tensor) -> Tensor:
        """Sum over the landmarks of the mm that they miss their counterparts by, mean of both directions (Charbonnier's).

        The velocity's gradient is spread: a landmark speaks for its surroundings, and a single voxel that ran ahead of its
        neighbours would fold.
        """
        assert self.points is not None
        change = velocity - velocity.detach()
        for _ in range(2):
            change = functional.avg_pool3d(change, self.width, 1, self.width // 2)
        led = velocity.detach() + change
        both = exponentiate(torch.cat([led, -led]), squarings=self.settings.squarings)
        # The first displacement takes places of the fixed scan to the moving one, where its landmarks are.
        targets, starts = self.points, self.points.flip(0)
        residuals = (starts + sample(both, starts) - targets) * self.edges_mm
        squares = residuals.square().sum(dim=1)
        return ((squares + _MET_MM**2).sqrt() - _MET_MM).sum() / 2


class Stiff:
    """Where a deformation is to be a rotation and a shift (after Staring et al. 2007, "A rigidity penalty term", Med. Phys.).

    Orthonormality: the squares of J^T J - I, J the derivative of x + u(x); linearity: the squares of its second derivatives
    along the axes, over a centimetre. Their mean over the voxels ``weights`` (2, 1, X, Y, Z), of the moving, then of the
    fixed scan. ``edges_mm`` (1, 3, 1, 1, 1): of a voxel.
    """

    def __init__(self, weights: Tensor, edges_mm: Tensor) -> None:
        inner = torch.zeros_like(weights, dtype=torch.bool)
        inner[:, :, 1:-1, 1:-1, 1:-1] = True
        chosen = (weights * inner).amax((0, 1)) > _RIGID
        self.places = chosen.flatten().nonzero().flatten()
        # The first displacement lives at the fixed scan's voxels.
        self.weights = weights.flatten(2)[:, 0, self.places].flip(0)
        self.weights = self.weights / self.weights.sum().clamp_min(1)
        self.steps = (weights.shape[3] * weights.shape[4], weights.shape[4], 1)
        self.edges_mm = edges_mm.flatten()

    def loss(self, both: Tensor) -> Tensor:
        """The loss of both displacements ``(2, 3, X, Y, Z)`` in voxels; scalar."""
        flat = both.flatten(2) * self.edges_mm.view(1, 3, 1)
        here = flat.index_select(2, self.places)
        columns, bending = [], torch.zeros_like(self.weights)
        for step, edge in zip(self.steps, self.edges_mm, strict=True):
            ahead, behind = (flat.index_select(2, self.places + sign * step) for sign in (1, -1))
            columns.append((ahead - behind) / (2 * edge))
            bending = bending + (_BENDING_MM * (ahead + behind - 2 * here) / edge**2).square().sum(dim=1)
        derivative = torch.stack(columns, dim=2)  # (2, component, axis, N)
        # (I + D)^T (I + D) - I without the loss of digits.
        strain = derivative + derivative.transpose(1, 2) + torch.einsum("bkin,bkjn->bijn", derivative, derivative)
        return (self.weights * (strain.square().sum(dim=(1, 2)) + bending)).sum()


class RigidPieces:
    """The rigid motions that fit a velocity best around each place that keeps its shape.

    They take out what bends a bone within a cube, which descent does slowly; what stretches all of it stays.

    Over a cube of about 2 cm, weighed by ``rigid`` (2, 1, X, Y, Z) of either scan, the least squares are v = t + w x (x - m) with
    the means t and m, and (tr(C) I - C) w = a, C the covariance of the places and a the mean of (x - m) x (v - t) (the linear
    case of Horn 1987); each voxel is a cube with an inertia of its own. ``edges_mm`` (1, 3, 1, 1, 1): of a voxel.
    """

    def __init__(self, rigid: Tensor, edges_mm: Tensor) -> None:
        self.weights = rigid.amax(dim=0, keepdim=True)
        self.edges_mm = edges_mm
        self.width = 2 * max(1, round(_PIECE_MM / float(edges_mm.mean()) / 2)) + 1
        self.places = (self.weights[0, 0] > _RIGID).flatten().nonzero().flatten()
        shape = rigid.shape[2:]
        middle = torch.tensor([(n - 1) / 2 for n in shape], device=rigid.device).view(1, 3, 1, 1, 1)
        self.points = (identity(shape, device=rigid.device) - middle) * edges_mm
        self.total = self._sums(torch.ones_like(self.weights)).clamp_min(1e-6)
        self.centre = self._means(self.points)
        products = self._means(torch.cat([self.points * self.points[:, axis : axis + 1] for axis in range(3)], dim=1))
        covariance = products.view(3, 3, -1) - self.centre[:, None] * self.centre[None]
        trace = covariance.diagonal(dim1=0, dim2=1).sum(dim=1)
        inertia = trace[:, None, None] * torch.eye(3, device=rigid.device) - covariance.permute(2, 0, 1)
        self.inertia = inertia + edges_mm.mean() ** 2 / 12 * torch.eye(3, device=rigid.device)
        self.share = (2 * self.weights.flatten()[self.places]).clamp(max=1)
        self.here = self.points.flatten(2)[0, :, self.places]

    @torch.no_grad()
    def project(self, velocity: Tensor) -> None:
        """Change ``velocity`` (1, 3, X, Y, Z), in voxels, in place."""
        if not len(self.places):
            return
        mm = velocity * self.edges_mm
        mean = self._means(mm)
        turning = self._means(torch.linalg.cross(self.points, mm, dim=1)) - torch.linalg.cross(self.centre, mean, dim=0)
        spin = torch.linalg.solve(self.inertia, turning.T).T
        rigid = mean + torch.linalg.cross(spin, self.here - self.centre, dim=0)
        flat = velocity.flatten(2)
        before = flat[0, :, self.places]
        flat[0, :, self.places] = torch.lerp(before, rigid / self.edges_mm.view(3, 1), self.share)

    def _sums(self, volume: Tensor) -> Tensor:
        """Weighed averages over the cubes around the places, (channels, N), not yet divided by the weights'."""
        pooled = functional.avg_pool3d(self.weights * volume, self.width, 1, self.width // 2)
        return pooled.flatten(2)[0, :, self.places]

    def _means(self, volume: Tensor) -> Tensor:
        return self._sums(volume) / self.total
