"""Label maps of several atlases, on one scan's grid, fused to one.

Every atlas votes with the label that it shows at a voxel; a rule (:data:`FUSIONS`) says what its vote weighs. Where an atlas
shows nothing, beyond its field of view, it does not vote.

What the rules have in common: they look only where the atlases disagree, in a box around that; intensities are compared
within the window of the abdomen, in neighbourhoods of so many millimetres on any grid.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mics.errors import GeometryError, SettingError, shown
from mics.image.intensity import WINDOWS

Floats = NDArray[np.float32]
Box = tuple[slice, slice, slice]
Three = tuple[int, int, int]
Value = TypeVar("Value", bound=np.generic)

_WIDTH, _LEVEL = WINDOWS["abdomen"]
_LOCAL_MM = 8.0
"""Half the edge of the neighbourhood in which :func:`locally_weighted` compares."""
_PATCH_MM, _SEARCH_MM = 4.0, 2.0
_ALPHA, _BETA = 0.1, 2.0
"""As Wang et al. 2013 use them."""
_MIN_SD = 1.0
"""HU: the grey values of a flatter patch are not stretched."""
_SLAB_VOXELS, _CHUNK_VOXELS = 500_000, 10_000


@dataclass(frozen=True, eq=False)
class Atlases:
    """What the atlases show on the scan's grid: ``images`` (N, X, Y, Z) HU, ``labels`` (N, X, Y, Z) integers, and ``in_view``
    (N, X, Y, Z), where each has a field of view. ``spacing`` in mm.

    Raises InputError where they do not fit together, or there is none.
    """

    images: NDArray[np.floating | np.integer]
    labels: NDArray[np.integer]
    in_view: NDArray[np.bool_]
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.labels.ndim != 4 or not len(self.labels):
            raise SettingError("The label maps of atlases are an array (N, X, Y, Z) of at least one.")
        if self.images.shape != self.labels.shape or self.in_view.shape != self.labels.shape:
            raise GeometryError(
                f"Images {self.images.shape}, labels {self.labels.shape} and fields of view {self.in_view.shape} of atlases "
                "differ in shape: bring all of them onto the scan's grid."
            )

    def radius(self, mm: float) -> Three:
        """Voxels along each axis nearest to so many millimetres, at least one."""
        i, j, k = (max(1, round(mm / step)) for step in self.spacing)
        return i, j, k


@dataclass(frozen=True, eq=False)
class Fused:
    """``labels`` (X, Y, Z), and ``agreement`` (X, Y, Z) float32: the share of the atlases in view that show that label there."""

    labels: NDArray[np.integer]
    agreement: Floats


Fusion = Callable[[NDArray[np.floating], Atlases], NDArray[np.integer]]
"""A scan in HU (X, Y, Z) and the atlases on its grid to labels (X, Y, Z)."""


def fuse(scan: NDArray[np.floating], atlases: Atlases, fusion: str) -> Fused:
    """Fuse by a rule of :data:`FUSIONS`; ``scan`` is (X, Y, Z) HU. Raises InputError for an unknown rule, or another shape."""
    require_fusion(fusion)
    if scan.shape != atlases.labels.shape[1:]:
        raise GeometryError(
            f"The atlases have the shape {atlases.labels.shape[1:]}, the scan {scan.shape}: use one grid."
        )
    labels = FUSIONS[fusion](scan, atlases)
    return Fused(labels, agreement(labels, atlases))


def require_fusion(fusion: str) -> None:
    """Raise InputError for what is no rule of :data:`FUSIONS`."""
    if not isinstance(fusion, str) or fusion not in FUSIONS:
        raise SettingError(f"`fusion` is one of {', '.join(FUSIONS)}, not {shown(fusion)}.", option="fusion")


def agreement(labels: NDArray[np.integer], atlases: Atlases) -> Floats:
    """The share of the atlases that see a voxel and show its label there, (X, Y, Z) float32; 0 where none sees it."""
    same, seen = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
    for own, view in zip(atlases.labels, atlases.in_view, strict=True):
        same += (own == labels) & view
        seen += view
    return np.divide(same, seen, out=np.zeros_like(same), where=seen > 0)


def majority(scan: NDArray[np.floating], atlases: Atlases) -> NDArray[np.integer]:
    """The label of most atlases; of several with as many votes the smallest, background first. The scan is not looked at."""
    del scan
    labels, disputed = undisputed(atlases)
    labels[disputed] = _elected(atlases, disputed, [view[disputed].astype(np.float32) for view in atlases.in_view])
    return labels


def locally_weighted(scan: NDArray[np.floating], atlases: Atlases) -> NDArray[np.integer]:
    """Each vote weighs as the atlas resembles the scan around the voxel (Artaechevarria et al. 2009, IEEE TMI 28(8), 1266-1277).

    The weight is the inverse of the mean squared difference of windowed HU in a box of 8 mm to each side.
    """
    labels, disputed = undisputed(atlases)
    target = _windowed(scan)
    edges = [2 * r + 1 for r in atlases.radius(_LOCAL_MM)]
    weights = []
    for image, view in zip(atlases.images, atlases.in_view, strict=True):
        difference = uniform_filter((_windowed(image) - target) ** 2, edges, mode="nearest")[disputed]
        weights.append(view[disputed] / (difference + _MIN_SD**2))
    labels[disputed] = _elected(atlases, disputed, weights)
    return labels


def joint(
    scan: NDArray[np.floating],
    atlases: Atlases,
    *,
    patch: Three | None = None,
    search: Three | None = None,
    alpha: float = _ALPHA,
    beta: float = _BETA,
) -> NDArray[np.integer]:
    """Joint label fusion (Wang et al. 2013, "Multi-atlas segmentation with joint label fusion", IEEE TPAMI 35(3), 611-623).

    Atlases that are wrong in the same way share their weight: with M(i, j) the mean over the patch of
    |scan − atlas i| · |scan − atlas j|, to the power ``beta``, the weights are (M + ``alpha`` · 1)⁻¹ 1, divided by their sum.
    Grey values have mean 0 and standard deviation 1 within each patch. First each atlas' patch is sought nearby, where it
    correlates best with the scan's. The weights of a voxel vote for its whole patch, as in ANTs' antsJointFusion.

    Args:
        scan: (X, Y, Z) HU.
        atlases: On the same grid.
        patch: Voxels along each axis from the middle of a patch to its border; by default 4 mm.
        search: Voxels that an atlas' patch may lie away; by default 2 mm.
        alpha: Added to the diagonal: the larger, the more equal the weights.
        beta: The larger, the more the differences count.

    Returns:
        The labels (X, Y, Z); of several with as large votes the smallest.
    """
    labels, disputed = undisputed(atlases)
    for part in _slabs(disputed):
        labels[part][disputed[part]] = _JointVote(
            scan,
            atlases,
            part=part,
            patch=atlases.radius(_PATCH_MM) if patch is None else patch,
            search=atlases.radius(_SEARCH_MM) if search is None else search,
            alpha=alpha,
            beta=beta,
        ).elected(disputed)
    return labels


FUSIONS: dict[str, Fusion] = {"majority": majority, "local": locally_weighted, "joint": joint}
"""The rules by the names that users give them."""


def undisputed(atlases: Atlases) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Labels (X, Y, Z) where all atlases in view show the same, 0 where none sees anything, and where they differ."""
    least = np.full(atlases.labels.shape[1:], np.iinfo(atlases.labels.dtype).max, atlases.labels.dtype)
    most = np.zeros_like(least)
    for own, view in zip(atlases.labels, atlases.in_view, strict=True):
        np.minimum(least, own, out=least, where=view)
        np.maximum(most, own, out=most, where=view)
    return most, (least < most)


def _elected(atlases: Atlases, places: NDArray[np.bool_], weights: Sequence[Floats]) -> NDArray[np.integer]:
    """The label with the largest sum of weights at each of the ``places``, in their order; ``weights``: one array an atlas."""
    voted = atlases.labels[:, places]
    elected, best = np.zeros(voted.shape[1], voted.dtype), np.zeros(voted.shape[1], np.float32)
    for label in np.unique(voted):
        votes = sum(weight * (own == label) for weight, own in zip(weights, voted, strict=True))
        better = votes > best
        elected[better], best = label, np.maximum(best, votes)
    return elected


def _slabs(places: NDArray[np.bool_]) -> Iterator[Box]:
    """The box around the ``places`` in pieces along the first axis."""
    if not places.any():
        return
    box = [np.flatnonzero(places.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first, *plane = (slice(int(found[0]), int(found[-1]) + 1) for found in box)
    depth = max(1, _SLAB_VOXELS // int(np.prod([part.stop - part.start for part in plane])))
    for start in range(first.start, first.stop, depth):
        yield slice(start, min(start + depth, first.stop)), plane[0], plane[1]


class _JointVote:
    """Joint label fusion within one box, ``part``. Arrays here reach ``patch`` and ``search`` and once more ``patch`` beyond it,
    with the border's values beyond the volume.
    """

    def __init__(
        self,
        scan: NDArray[np.floating],
        atlases: Atlases,
        *,
        part: Box,
        patch: Three,
        search: Three,
        alpha: float,
        beta: float,
    ) -> None:
        self.part, self.patch, self.search, self.alpha, self.beta = part, patch, search, alpha, beta
        self.margin = [2 * p + s for p, s in zip(patch, search, strict=True)]
        self.target = _windowed(self._around(scan))
        self.images = [_windowed(self._around(image)) for image in atlases.images]
        self.in_view = [self._around(view) for view in atlases.in_view]
        self.values = np.unique(np.stack([self._around(labels) for labels in atlases.labels]))
        self.shown = [np.searchsorted(self.values, self._around(labels)) for labels in atlases.labels]

    def elected(self, disputed: NDArray[np.bool_]) -> NDArray[np.integer]:
        """The labels of the disputed voxels within the box, in their order."""
        around = self._around(disputed) & self._within_volume(disputed.shape)
        # Those of the box and those whose patch reaches into it.
        near = np.zeros_like(around)
        near[self._inner(self.patch)] = around[self._inner(self.patch)]
        voters = np.stack(np.nonzero(near), axis=-1)
        statistics = [self._statistics(volume) for volume in (self.target, *self.images)]
        matches = [self._match(index, statistics, near) for index in range(len(self.images))]
        votes = torch.zeros(len(self.values), self.target.size)
        for start in range(0, len(voters), _CHUNK_VOXELS):
            chunk = slice(start, start + _CHUNK_VOXELS)
            self._vote(votes, voters[chunk], [match[chunk] for match in matches], statistics)
        best = votes.argmax(dim=0).numpy().reshape(self.target.shape)
        inner = self._inner((0, 0, 0))
        elected: NDArray[np.integer] = self.values[best[inner][around[inner]]]
        return elected

    def _vote(
        self,
        votes: torch.Tensor,
        voters: NDArray[np.intp],
        matches: Sequence[NDArray[np.intp]],
        statistics: Sequence[tuple[Floats, Floats]],
    ) -> None:
        """Add what ``voters`` (V, 3) give to each label at each voxel of their patches, to ``votes`` (labels, voxels)."""
        ranges = (range(-r, r + 1) for r in self.patch)
        steps = self._flat(np.array(list(itertools.product(*ranges))))
        own = self._flat(voters)
        grey = self._normalised(self.target, own, steps, statistics[0])
        places = [self._flat(voters + match) for match in matches]
        unlike = np.stack(
            [
                np.abs(grey - self._normalised(image, place, steps, found))
                for image, place, found in zip(self.images, places, statistics[1:], strict=True)
            ],
            axis=1,
        )
        views = np.stack([view.ravel()[own] for view in self.in_view], axis=1)
        weights = joint_weights(unlike, views, alpha=self.alpha, beta=self.beta)
        filled = own[:, None] + steps
        for index, place in enumerate(places):
            labels = self.shown[index].ravel()[place[:, None] + steps]
            counted = weights[:, index, None] * self.in_view[index].ravel()[place[:, None] + steps]
            target = torch.from_numpy(labels * self.target.size + filled)
            votes.view(-1).index_add_(0, target.view(-1), torch.from_numpy(counted).float().reshape(-1))

    def _match(
        self, index: int, statistics: Sequence[tuple[Floats, Floats]], voters: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """How far away, (V, 3) voxels, an atlas' patch correlates best with that of the scan around each voter."""
        mean, sd = (values[voters] for values in statistics[0])
        voxels = np.stack(np.nonzero(voters), axis=-1)
        best = np.full(len(voxels), -np.inf, np.float32)
        found = np.zeros_like(voxels)
        shifts = itertools.product(*(range(-s, s + 1) for s in self.search))
        # From the nearest on: of several that correlate as well the nearest is taken.
        for shift in sorted(shifts, key=lambda step: sum(d * d for d in step)):
            moved = np.roll(self.images[index], [-d for d in shift], axis=(0, 1, 2))
            product = self._mean(self.target * moved)[voters]
            shifted = self._flat(voxels + shift)
            other_mean, other_sd = (values.ravel()[shifted] for values in statistics[index + 1])
            correlation = (product - mean * other_mean) / (sd * other_sd)
            better = correlation > best
            best[better], found[better] = correlation[better], shift
        return found

    def _statistics(self, volume: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the patch around each voxel."""
        mean = self._mean(volume)
        count = int(np.prod([2 * r + 1 for r in self.patch]))
        variance = (self._mean(volume * volume) - mean**2) * count / max(count - 1, 1)
        return mean, np.sqrt(np.maximum(variance, _MIN_SD**2))

    def _mean(self, volume: Floats) -> Floats:
        means: Floats = uniform_filter(volume, [2 * r + 1 for r in self.patch], mode="nearest")
        return means

    def _normalised(
        self, volume: Floats, places: NDArray[np.intp], steps: NDArray[np.intp], statistics: tuple[Floats, Floats]
    ) -> Floats:
        """The patches around ``places`` (V,), (V, P), with mean 0 and standard deviation 1."""
        mean, sd = (values.ravel()[places][:, None] for values in statistics)
        patches: Floats = (volume.ravel()[places[:, None] + steps] - mean) / sd
        return patches

    def _flat(self, voxels: NDArray[np.integer]) -> NDArray[np.intp]:
        """Where voxels, or steps between them, (…, 3), are in a flattened array."""
        _, y, z = self.target.shape
        flat: NDArray[np.intp] = voxels[..., 0] * (y * z) + voxels[..., 1] * z + voxels[..., 2]
        return flat

    def _around(self, volume: NDArray[Value]) -> NDArray[Value]:
        """The box with its margin, beyond the volume the border's values."""
        indices = (
            np.clip(np.arange(part.start - margin, part.stop + margin), 0, extent - 1)
            for part, margin, extent in zip(self.part, self.margin, volume.shape, strict=True)
        )
        values: NDArray[Value] = volume[np.ix_(*indices)]
        return values

    def _within_volume(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which voxels of the box with its margin the volume has."""
        axes = [
            (places >= 0) & (places < extent)
            for part, margin, extent in zip(self.part, self.margin, shape, strict=True)
            for places in [np.arange(part.start - margin, part.stop + margin)]
        ]
        return axes[0][:, None, None] & axes[1][:, None] & axes[2]

    def _inner(self, beyond: Sequence[int]) -> Box:
        """The box, and so many voxels ``beyond``, within its margin."""
        x, y, z = (
            slice(margin - more, margin + part.stop - part.start + more)
            for part, margin, more in zip(self.part, self.margin, beyond, strict=True)
        )
        return x, y, z


def joint_weights(
    unlike: Floats, views: NDArray[np.bool_], *, alpha: float = _ALPHA, beta: float = _BETA
) -> NDArray[np.float64]:
    """What each atlas weighs at each voxel, (V, N), of sum 1 (Wang et al. 2013, equation 9).

    Args:
        unlike: Absolute differences of the atlases' patches from the scan's, (V, N, P).
        views: Which atlases see the voxel, (V, N); at least one. The others weigh nothing.
        alpha: Added to the diagonal.
        beta: The power of the mean products.
    """
    differences = torch.from_numpy(unlike).double()
    both = views[:, :, None] & views[:, None, :]
    products = (differences @ differences.mT / max(unlike.shape[2] - 1, 1)) ** beta
    matrix = products * torch.from_numpy(both) + alpha * torch.eye(unlike.shape[1], dtype=torch.float64)
    ones = torch.from_numpy(views).double()[..., None]
    weights = torch.linalg.solve(matrix, ones)[..., 0].numpy() * views
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _windowed(hu: NDArray[np.generic]) -> Floats:
    return np.clip(hu, _LEVEL - _WIDTH / 2, _LEVEL + _WIDTH / 2).astype(np.float32)
