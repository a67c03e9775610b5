"""The affine that lays the organs of two scans upon each other, and the tissue around them.

An affine by intensities alone is led astray where the scans show different parts of the body, and says little where they show
the same: skin and spine lie together while the organs do not. Organs have names. Both directions count alike, so that exchanging
the scans inverts the affine, and strain is held back: no patient is half as long again as another.
"""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from mics.image.grid import Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.losses.overlap import expected_precision
from mics.network.precision import half_precision
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel, load_model_for
from mics.registration.coarse import Coarse, coarse, in_order
from mics.registration.pair import Pair
from mics.registration.sagittal import Direction, lefts_of
from mics.registration.start import best_start
from mics.threads import side_by_side

AFFINE_MODEL = "organs-coarse"
"""A quarter of the default model's time, and good enough to tell where organs are."""
_SEARCH_MM = 8.0
_MIN_ML = 10.0
"""Of an organ in either scan, in soft voxels: less says little about where it is."""
_MIN_PROBABILITY = 0.05
_BODY_STRIDE = 2
"""Of the body one voxel in so many along each axis is compared."""
_IMAGE, _SHAPE, _SIZE, _SKEW = 0.5, 2.0, 0.5, 3.0
"""Weights, beside one of the organs' overlap: of the tissue's correlation, of strain that changes shape, of change in size, of
sagittal planes that do not come to lie parallel."""
_LENGTH_MM = 100.0
"""Shift that counts as much as a change of the linear part by one: about the distance of an organ from the middle."""
_ITERATIONS = 60
_FIRST, _LAST = 1e-8, 1e-7
"""Change of the cost that ends a descent, ten times that of the gradient, from a start and at last."""
_SMOOTHED, _SPLINE = 1 / 2, 1 / 3
"""Weights of the neighbours in the volumes that either looks at; with the second the volumes are cubic B-splines' values."""
_SAME_MM = 2.0
"""Within the body, of two affines that one descent would bring together."""


@dataclass(frozen=True, eq=False)
class _Points:
    """Some voxels of a scan: ``places`` (N, 3) in LPS mm and ``values`` (N,) or (channels, N)."""

    places: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False)
class _Scan:
    """``volume`` (1, organs + 2, X, Y, Z) in float64: organ maps, the abdominal window, and 1 where there are data.

    ``organs``: of each organ the voxels that show it; ``body``: some of the body, with the window and where there are data.
    """

    volume: Tensor
    grid: Grid
    organs: Sequence[_Points]
    body: _Points

    @property
    def maps(self) -> Tensor:
        """Organ maps (1, organs, X, Y, Z)."""
        return self.volume[:, :-2]

    @cached_property
    def each_organ(self) -> Tensor:
        """(organs, 2, X, Y, Z): an organ's map, and where there are data."""
        maps = self.maps[0]
        return torch.stack([maps, self.volume[:, -1].expand_as(maps)], dim=1)

    @property
    def tissue(self) -> Tensor:
        """(2, X, Y, Z): the abdominal window, and where there are data."""
        return self.volume[0, -2:]

    def relative(self, matrix: Tensor) -> Tensor:
        """``matrix`` (4, 4), to LPS mm, as one (3, 4) to what ``grid_sample`` takes: z, y, x from -1 to 1."""
        # A volume of one voxel along an axis has no extent there.
        scale = torch.tensor([2 / max(length - 1, 1) for length in self.grid.size], dtype=matrix.dtype)
        voxels = scale[:, None] * (torch.from_numpy(self.grid.inverse_matrix[:3]) @ matrix)
        return torch.cat([voxels[:, :3], voxels[:, 3:] - 1], dim=1).flip(0)


def _at(channels: Tensor, places: Tensor, matrix: Tensor) -> Tensor:
    """Values (C, N) of ``channels`` (C, X, Y, Z) where ``matrix`` (3, 4), of :meth:`_Scan.relative`, takes ``places`` (N, 3)."""
    relative = torch.addmm(matrix[:, 3], places, matrix[:, :3].T)[None, :, None, None]
    return functional.grid_sample(channels[None], relative, align_corners=True)[0, :, :, 0, 0]


def register_affine_by_organs(
    *,
    fixed: Image,
    moving: Image,
    model: LoadedModel | None = None,
    device: torch.device | str = "cpu",
    lefts: Pair[Direction | None] | None = None,
) -> NDArray[np.float64]:
    """The affine between two scans by the organs that a coarse network finds in both, and by their tissue.

    Minimised is one minus the mean overlap of the organ maps, plus half of one minus the correlation of the abdominal window
    within the body, plus squares of the Green-Lagrange strain, twice that of shape and half that of size, plus three times the
    squared sine between the patients' sagittal planes, as organs lie turned where patients do not; all in both directions.
    Descents from two starts (the organs' centres; a search of shifts along the body) go to their ends on smoothed volumes, 60
    iterations at most; where these differ, each goes on, on volumes that are smoothed less, and the lower end is taken. Where
    several affines cost nearly the same, rounding decides which is found; so the scan with the smaller body always counts as
    fixed.

    Args:
        fixed: Scan in HU, any geometry.
        moving: The other.
        model: The segmentation network, :data:`AFFINE_MODEL` by default.
        device: Where it works and where the cost is computed; the rest is done on the CPU.
        lefts: Which way is left in either patient (:func:`mics.registration.sagittal.sagittal_normal`), where that was looked for
            already. Where it is not found in both, their planes do not count.

    Returns:
        (4, 4), in LPS millimetres, from points of ``fixed`` to points of ``moving`` (ITK's direction). Where no organ is
        found in both scans, the search and the tissue decide.
    """
    model, device = model or load_model_for("segmentation", AFFINE_MODEL), torch.device(device)
    scans, searched, swapped = in_order(Pair(fixed=fixed, moving=moving), _SEARCH_MM)
    if lefts is None:
        lefts = lefts_of(scans)
    elif swapped:
        lefts = Pair(fixed=lefts.moving, moving=lefts.fixed)
    model.network.to(device)
    # With one thread each, a network's last digits, and where a flat cost is least, are the same for any number of cores.
    fixed_scan, moving_scan = side_by_side(
        lambda scan: _with_maps(_cropped(coarse(scan, model.spacing_mm)), model, device), (scans.fixed, scans.moving)
    )
    problem = _Problem(Pair(fixed=fixed_scan, moving=moving_scan), lefts)
    smooth, spline = problem.smoothed(_SMOOTHED), problem.smoothed(_SPLINE)
    starts = [best_start(searched), *problem.centres_upon_each_other()]
    ends: list[NDArray[np.float64]] = []
    for end in side_by_side(lambda start: smooth.solved(start, _FIRST), starts):
        if all(problem.apart_mm(end, other) > _SAME_MM for other in ends):
            ends.append(end)
    found = min(side_by_side(lambda end: spline.solved(end, _LAST), ends), key=spline.cost)
    return np.linalg.inv(found).astype(np.float64) if swapped else found


def _cropped(scan: Coarse) -> Coarse:
    """The part of a scan that shows the body."""
    first, last = (edge(np.argwhere(scan.body), axis=0) for edge in (np.min, np.max))
    part = tuple(slice(low, high + 1) for low, high in zip(first, last, strict=True))
    hu, grid = scan.image.array[part], scan.image.grid
    i, j, k = grid.voxel_to_world(first).tolist()
    cropped = dataclasses.replace(grid, size=(hu.shape[0], hu.shape[1], hu.shape[2]), origin=(i, j, k))
    return Coarse(Image(hu, cropped), scan.in_view[part], scan.body[part])


@torch.no_grad()
def _with_maps(scan: Coarse, model: LoadedModel, device: torch.device) -> _Scan:
    """A scan with the organ maps of the network, which is on ``device``, on voxels twice as large as its own."""
    hu = torch.from_numpy(np.ascontiguousarray(scan.image.array))[None, None].to(device)
    # Coarse volumes lie in LPS order, the network knows LAS.
    windows = hu_windows(hu, model.hu_range).flip(3)
    with half_precision(device):
        maps = cast(Segmentation, model.network).organ_maps(windows, model.crop)
    data = torch.from_numpy(np.stack([scan.in_view, scan.body]).astype(np.float32))[None].to(device)
    window = windows[:, :1].flip(3) * data[:, :1]
    volume = torch.cat([maps.float().flip(3) * data[:, :1], window, data], dim=1)
    # Apple's GPUs have no double precision.
    volume = (volume.cpu() if device.type == "mps" else volume).double()
    return _scan(*_halved(volume, scan.image.grid))


def _halved(volume: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Means of two voxels along each axis; an odd last one is let go."""
    size = tuple(max(length // 2, 1) for length in grid.size)
    width = [min(2, length) for length in grid.size]
    halves = functional.avg_pool3d(volume, width)
    origin = grid.voxel_to_world([(edge - 1) / 2 for edge in width])
    spacing = tuple(edge * step for edge, step in zip(width, grid.spacing, strict=True))
    i, j, k = origin.tolist()
    return halves, Grid((size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), (i, j, k), grid.direction)


def _scan(volume: Tensor, grid: Grid) -> _Scan:
    body, volume = volume[0, -1] > 0.5, volume[:, :-1]
    stride = torch.zeros_like(body)
    stride[::_BODY_STRIDE, ::_BODY_STRIDE, ::_BODY_STRIDE] = True
    organs = [_points(organ, organ > _MIN_PROBABILITY, grid) for organ in volume[0, :-2]]
    return _Scan(volume, grid, organs, _points(volume[0, -2:], body & stride, grid))


def _smoothed(volume: Tensor, weight: float) -> Tensor:
    """Averages (1, C, X, Y, Z) of each value and, along each axis, its two neighbours, who have this ``weight`` together."""
    for axis in (2, 3, 4):
        voxels = torch.arange(volume.shape[axis], device=volume.device)
        ahead, behind = ((voxels + step).clamp(0, len(voxels) - 1) for step in (1, -1))
        neighbours = (volume.index_select(axis, ahead) + volume.index_select(axis, behind)) / 2
        volume = torch.lerp(volume, neighbours, weight)
    return volume


def _points(volume: Tensor, where: Tensor, grid: Grid) -> _Points:
    matrix = torch.from_numpy(grid.matrix).to(volume)
    return _Points(where.nonzero().double() @ matrix[:3, :3].T + matrix[:3, 3], volume[..., where])


class _Problem:
    """The affine between two scans: where it starts, what it costs and where that is least."""

    def __init__(self, scans: Pair[_Scan], lefts: Pair[Direction | None]) -> None:
        self.scans = scans
        known = lefts.fixed is not None and lefts.moving is not None
        self.lefts = [torch.from_numpy(left) for left in (lefts.fixed, lefts.moving) if known and left is not None]
        self.volumes_ml = [self._volumes_ml(scan) for scan in (scans.fixed, scans.moving)]
        common = (self.volumes_ml[0] >= _MIN_ML) & (self.volumes_ml[1] >= _MIN_ML)
        sure = (expected_precision(scans.fixed.maps) * expected_precision(scans.moving.maps)).square()[0]
        self.weights = torch.where(common, sure, 0)
        self.counted = self.weights.nonzero().flatten().tolist()

    def centres_upon_each_other(self) -> list[NDArray[np.float64]]:
        """A shift, the median of those between the centres of organs that both scans show; none where no organ is."""
        common = self.weights > 0
        if not common.any():
            return []
        fixed, moving = (self._centres(scan) for scan in (self.scans.fixed, self.scans.moving))
        shift = np.eye(4)
        # To a hundredth of a millimetre: the last digits of sums, which the number of threads changes, are not to decide.
        shift[:3, 3] = (moving - fixed)[common].quantile(0.5, dim=0).cpu().numpy().round(2)
        return [shift]

    def cost(self, matrix: NDArray[np.float64]) -> float:
        """Of an affine (4, 4), fixed to moving points."""
        with torch.no_grad():
            return float(self._cost(torch.from_numpy(matrix)))

    def apart_mm(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """The largest distance within the fixed body between where two affines (4, 4) take it."""
        places = self.scans.fixed.body.places
        if not len(places):
            return np.inf
        difference = torch.from_numpy(one - other).to(places)
        return float((places @ difference[:3, :3].T + difference[:3, 3]).norm(dim=1).max())

    def smoothed(self, weight: float) -> Self:
        """The same, but that points look at smoothed volumes, with this ``weight`` of the neighbours.

        Linear interpolation of the volumes as they are gives the cost a small valley at every voxel, and a descent would end in
        another one for every rounding, centimetres apart where the cost is flat.
        """
        problem = copy.copy(self)
        fixed, moving = (
            dataclasses.replace(scan, volume=_smoothed(scan.volume, weight))
            for scan in (self.scans.fixed, self.scans.moving)
        )
        problem.scans = Pair(fixed=fixed, moving=moving)
        return problem

    def solved(self, start: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
        """The affine (4, 4) that a descent from ``start`` comes to, until a step changes the cost by less than ``tolerance``."""
        centre, origin = self._centre(), torch.from_numpy(start)

        def matrix(change: Tensor) -> Tensor:
            # About the middle of the organs, so that turns and shifts do not undo each other.
            linear = (torch.eye(3, dtype=torch.float64) + change[:, :3]) @ origin[:3, :3]
            shift = origin[:3, :3] @ centre + origin[:3, 3] + _LENGTH_MM * change[:, 3] - linear @ centre
            last = torch.tensor([[0, 0, 0, 1]], dtype=torch.float64)
            return torch.cat([torch.cat([linear, shift[:, None]], dim=1), last])

        def cost_and_slope(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            change = torch.tensor(flat, dtype=torch.float64).reshape(3, 4).requires_grad_()
            cost = self._cost(matrix(change))
            (slope,) = torch.autograd.grad(cost, change)
            return float(cost.detach()), slope.numpy().ravel()

        # torch's own optimisers load its compiler, which takes seconds.
        best = minimize(
            cost_and_slope,
            np.zeros(12),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _ITERATIONS, "maxcor": _ITERATIONS, "ftol": tolerance, "gtol": 10 * tolerance},
        )
        found: NDArray[np.float64] = matrix(torch.from_numpy(best.x).reshape(3, 4)).numpy()
        return found if np.isfinite(found).all() and self.cost(found) <= self.cost(start) else start

    def _cost(self, matrix: Tensor) -> Tensor:
        """Of an affine (4, 4) on the CPU: what is done with so few numbers a GPU would take longer for."""
        fixed, moving, inverse = self.scans.fixed, self.scans.moving, torch.linalg.inv(matrix)
        matrices = torch.stack([moving.relative(matrix), fixed.relative(inverse)]).to(fixed.volume.device)
        misfit = self._misfit(fixed, moving, matrices[0]) + self._misfit(moving, fixed, matrices[1])
        strain = _strain(matrix[:3, :3]) + _strain(inverse[:3, :3])
        cost = misfit.to(matrix.device) + strain
        if self.lefts:
            left, other = self.lefts
            cost = cost + _SKEW * (_skew(matrix[:3, :3], left, other) + _skew(inverse[:3, :3], other, left))
        return cost / 2

    def _misfit(self, own: _Scan, other: _Scan, matrix: Tensor) -> Tensor:
        """Of the organs and the tissue of ``own`` with what the other scan shows where ``matrix`` (3, 4) takes them."""
        missed = own.volume.new_zeros(())
        for organ in self.counted:
            points = own.organs[organ]
            # An organ is missed only where the other scan has data.
            overlap, shown = (_at(other.each_organ[organ], points.places, matrix) * points.values).sum(1)
            missed = missed + self.weights[organ] * (1 - overlap / (shown + 1))
        organs = missed / self.weights.sum().clamp_min(1e-3)
        window, data = _at(other.tissue, own.body.places, matrix)
        return organs + _IMAGE * (1 - _correlation(own.body.values[0], window, own.body.values[1] * data))

    def _centre(self) -> Tensor:
        fixed = self.scans.fixed
        if float(self.weights.sum()) > 0:
            counted = [fixed.organs[organ] for organ in self.counted]
            weights = self.weights[self.counted]
            mass = torch.stack([points.values.sum() for points in counted])
            places = torch.stack([points.values @ points.places for points in counted])
            return (weights @ places / (weights @ mass)).cpu()
        return fixed.body.places.mean(0).cpu() if len(fixed.body.places) else torch.from_numpy(fixed.grid.centre)

    @staticmethod
    def _centres(scan: _Scan) -> Tensor:
        # What is surely the organ counts most.
        masses = [(points.values.square(), points.places) for points in scan.organs]
        return torch.stack([mass @ places / mass.sum().clamp_min(1e-6) for mass, places in masses])

    @staticmethod
    def _volumes_ml(scan: _Scan) -> Tensor:
        return scan.maps.sum((0, 2, 3, 4)) * float(np.prod(scan.grid.spacing)) / 1000


def _strain(linear: Tensor) -> Tensor:
    """Weighed squares of the Green-Lagrange strain ``(FᵀF - I) / 2``, which no rotation changes."""
    identity = torch.eye(3, dtype=linear.dtype)
    strain = (linear.T @ linear - identity) / 2
    size = strain.trace() / 3 * identity
    return _SHAPE * (strain - size).square().sum() + _SIZE * size.square().sum()


def _skew(linear: Tensor, normal: Tensor, other: Tensor) -> Tensor:
    """The squared sine between the plane of ``normal`` (3,) and that which ``linear`` (3, 3) takes to the plane of ``other``."""
    # Normals of planes go the other way than points, by the transposed matrix.
    taken = linear.T @ other
    return 1 - (taken @ normal).square() / taken.square().sum()


def _correlation(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Pearson's, of values (N,) with ``weights``; 0 where nothing varies."""
    total = weights.sum().clamp_min(1e-6)
    a, b = a - (weights * a).sum() / total, b - (weights * b).sum() / total
    covariance = (weights * a * b).sum() / total
    variances = ((weights * a * a).sum() / total) * ((weights * b * b).sum() / total)
    return covariance / (variances + 1e-8).sqrt()
