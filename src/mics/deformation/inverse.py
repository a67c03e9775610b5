"""Two displacements that nearly invert each other, made to do so better (conventions: :mod:`mics.deformation.field`)."""

import torch
from torch import Tensor

from mics.deformation.field import identity, sample
from mics.deformation.jacobian import slabs


def reconcile(ab: Tensor, ba: Tensor, *, iterations: int = 3) -> tuple[Tensor, Tensor]:
    """Two displacements that nearly invert each other, ``(B, 3, X, Y, Z)`` of one grid, changed until they do so better.

    By Newton's method, half of the way for each, so that exchanging them exchanges the results. Where x comes to lie at x + e(x)
    after there and back, a change of the way there moves it by as much times the inverse of the derivative J of that way:
    J·e/2 is taken off, a voxel at most.
    """
    for _ in range(iterations):
        ab, ba = _half_mended(ab, ba), _half_mended(ba, ab)
    return ab, ba


def _half_mended(there: Tensor, back: Tensor) -> Tensor:
    """``there``, less half a step of Newton's method towards the inverse of ``back``; slab by slab, which stay in the cache."""
    mended = torch.empty_like(there)
    places = identity(there.shape[2:], device=there.device)
    for start, stop in slabs(there):
        own, first = there[:, :, start:stop], max(start - 1, 0)
        around = there[:, :, first : stop + 1]
        missed = own + sample(back, places[:, :, start:stop] + own)
        step = missed.clone()
        for axis in range(3):
            (derivative,) = torch.gradient(around, dim=axis + 2)
            step.addcmul_(derivative[:, :, start - first : stop - first], missed[:, axis : axis + 1])
        # The library's norm over so short an axis takes ten times as long as all the rest.
        length = step.square().sum(dim=1, keepdim=True).sqrt()
        mended[:, :, start:stop] = own - step.div_(2 * length.clamp_min_(1))
    return mended
