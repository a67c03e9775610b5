"""Two displacements that nearly invert each other, made to do so better (conventions: :mod:`mics.deformation.field`)."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.field import compose, identity, length, resize, resize_displacement, sample
from mics.deformation.jacobian import slabs

_BEFORE, _AFTER, _FINE = 3, 3, 3
"""Iterations before and after what they do not correct is smoothed, and on a finer grid."""
_ROUNDS = 5
"""Of smoothing, at most."""
_MAX_RESIDUAL, _SMOOTHED_RESIDUAL = 0.2, 0.16
"""Inverse-consistency residual in voxels: from where on a round follows, and what it smooths."""
_MARGIN = 5
"""Voxels around what is smoothed that are corrected again: farther than smoothing reaches."""

Places = tuple[Tensor, ...]
"""Voxel indices along each axis of some places, ``(N,)`` each."""


def correct_inverse_consistency(ab: Tensor, ba: Tensor) -> tuple[Tensor, Tensor]:
    """Two displacements that nearly invert each other, ``(B, 3, X, Y, Z)`` of one grid, changed until they do so better.

    By Newton's method, half a step for each, so that exchanging them exchanges the results. Where both, one after the other, take
    x to x + r(x), with the residual r, and J is the derivative of the map that comes first, J·r/2 is taken off its displacement,
    a voxel at most.
    """
    ab, ba = _corrected(torch.cat([ab, ba]), _BEFORE).chunk(2)
    return ab, ba


def regularise_sharp_bends(ab: Tensor, ba: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth what bends too sharply for linear interpolation to have a better inverse on this grid.

    For results of :func:`correct_inverse_consistency`.

    Where the residual is longer than 0.16 voxels, both directions are averaged with what lies around, and corrected again there.
    """
    both = torch.cat([ab, ba])
    residual = length(compose(both, swap_directions(both)))
    for _ in range(_ROUNDS):
        if residual.max() < _MAX_RESIDUAL:
            break
        sharp = residual > _SMOOTHED_RESIDUAL
        x, y, z = places = _near(sharp).nonzero(as_tuple=True)
        both = _smoothed(both, sharp)
        for _ in range(_AFTER):
            both[:, :, x, y, z] -= _half_steps(both, places)
        residual = torch.zeros_like(residual)
        residual[:, :, x, y, z] = length(_residual(both, places))
    ab, ba = both.chunk(2)
    return ab, ba


def upsample_and_correct(ab: Tensor, ba: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Both on a finer grid of ``shape`` over the same box, in its voxels, corrected there for what interpolation spoils."""
    both = torch.cat([resize_displacement(displacement, shape) for displacement in (ab, ba)])
    ab, ba = _corrected(both, _FINE).chunk(2)
    return ab, ba


def _corrected(both: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        both = _half_corrected(both)
    return both


def swap_directions(both: Tensor) -> Tensor:
    """``(2 * B, …)`` with both directions in each other's place."""
    return both.roll(both.shape[0] // 2, dims=0)


def _half_corrected(both: Tensor) -> Tensor:
    """Both directions, ``(2 * B, 3, X, Y, Z)``, less half a step of Newton's method; slab by slab, which stay in the cache."""
    corrected, swapped = torch.empty_like(both), swap_directions(both)
    places = identity(both.shape[2:], device=both.device)
    for start, stop in slabs(both):
        own, first = both[:, :, start:stop], max(start - 1, 0)
        around = both[:, :, first : stop + 1]
        residual = own + sample(swapped, places[:, :, start:stop] + own)
        derivatives = (torch.gradient(around, dim=axis)[0][:, :, start - first : stop - first] for axis in (2, 3, 4))
        corrected[:, :, start:stop] = own - _half_step(residual, derivatives)
    return corrected


def _half_steps(both: Tensor, places: Places) -> Tensor:
    """Half a step of Newton's method at some places alone, ``(2 * B, 3, N)``."""
    derivatives = []
    for axis, extent in enumerate(both.shape[2:]):
        ahead, behind = list(places), list(places)
        ahead[axis], behind[axis] = (places[axis] + 1).clamp_max_(extent - 1), (places[axis] - 1).clamp_min_(0)
        derivatives.append((_at(both, ahead) - _at(both, behind)) / (ahead[axis] - behind[axis]))
    return _half_step(_residual(both, places), derivatives)


def _residual(both: Tensor, places: Places) -> Tensor:
    """By how much both directions, one after the other, miss each of the places, ``(2 * B, 3, N)``."""
    own = _at(both, places)
    positions = torch.stack(places) + own
    return own + sample(swap_directions(both), positions[..., None, None])[..., 0, 0]


def _at(both: Tensor, places: Sequence[Tensor]) -> Tensor:
    x, y, z = places
    return both[:, :, x, y, z]


def _half_step(residual: Tensor, derivatives: Iterable[Tensor]) -> Tensor:
    """(r + J·r) / 2, a voxel at most, of the residual r ``(2 * B, 3, …)`` and the displacement's derivative along each axis."""
    step = residual.clone()
    for axis, derivative in enumerate(derivatives):
        step.addcmul_(derivative, residual[:, axis : axis + 1])
    return step.div_(2 * length(step).clamp_min_(1))


def _near(sharp: Tensor) -> Tensor:
    """Voxels, ``(X, Y, Z)``, that are or have a neighbour within a few voxels along each axis that is true in any volume."""
    near = sharp.flatten(0, 1).any(dim=0)
    for axis, extent in enumerate(near.shape):
        spread = near.clone()
        for shift in range(1, min(_MARGIN, extent - 1) + 1):
            for target, source in ((shift, 0), (0, shift)):
                spread.narrow(axis, target, extent - shift).logical_or_(near.narrow(axis, source, extent - shift))
        near = spread
    return near


def _smoothed(both: Tensor, places: Tensor) -> Tensor:
    """``both`` around the ``places``, ``(2 * B, 1, X, Y, Z)``, interpolated from averages over 3³ voxels, two apart."""
    # Extents of 2 m - 1 have every second voxel's centre on their outermost ones.
    beyond = [n for extent in both.shape[:1:-1] for n in (0, 1 - extent % 2)]
    found, odd = (functional.pad(part, beyond, mode="replicate") for part in (places.float(), both))
    near = functional.max_pool3d(found, 5, 2, 2)
    average = functional.avg_pool3d(odd, 3, 2, 1, count_include_pad=False)
    x, y, z = both.shape[2:]
    share, smooth = (resize(coarse, odd.shape[2:])[..., :x, :y, :z] for coarse in (near, average))
    return torch.lerp(both, smooth, share)
