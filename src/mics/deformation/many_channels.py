"""Trilinear interpolation of a volume with many channels on a CPU.

PyTorch's ``grid_sample`` goes through the channels one by one. Here the channels of a voxel are a row of a table, and a value is
the sum of eight rows, which ``embedding_bag`` adds up with the processor's vector instructions, on all its cores: for 26 channels
in less than half of the time, derivatives included.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 1 << 17
"""Places that are worked on at a time: their weights and indices stay in the cache."""


def interpolate(volume: Tensor, position: Tensor) -> Tensor:
    """Values between the voxels, clamped to the volume; differentiable by the positions alone.

    Args:
        volume: ``(B, C, *in)`` float32, best in the memory format channels last, without gradient.
        position: ``(B, 3, *out)`` float32, voxels of ``volume``.

    Returns:
        ``(B, C, *out)``, the channels of a place beside each other.
    """
    rows = volume.permute(0, 2, 3, 4, 1).flatten(1, 3)
    shape = volume.shape[2:]
    values = [
        _Rows.apply(own, places, shape)  # type: ignore[no-untyped-call]
        for own, places in zip(rows, position.flatten(2), strict=True)
    ]
    together = torch.stack(values) if len(values) > 1 else values[0][None]
    result: Tensor = together.transpose(1, 2).unflatten(2, position.shape[2:])
    return result


class _Rows(torch.autograd.Function):
    """Rows ``(V, C)`` of a volume of ``shape`` between whose voxels the ``places`` ``(3, N)`` lie, as ``(N, C)``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
        ctx.save_for_backward(rows, places)
        ctx.shape = shape
        values, start = rows.new_empty(places.shape[1], rows.shape[1]), 0
        for corners, shares in _chunks(places, shape):
            values[start : start + len(corners)] = _weighted(rows, corners, shares)
            start += len(corners)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        rows, places = ctx.saved_tensors
        by_place = []
        for (corners, shares), own in zip(_chunks(places, ctx.shape), gradient.split(_CHUNK), strict=True):
            # Of a share of 1 - x and x the derivative is -1 and 1.
            slope = rows.new_tensor([-1.0, 1.0])[:, None].expand_as(shares[0])
            derivatives = (
                _weighted(rows, corners, [slope if other == axis else shares[other] for other in range(3)])
                for axis in range(3)
            )
            by_place.append(torch.stack([derivative.mul_(own).sum(dim=1) for derivative in derivatives]))
        within = (places > 0) & (places < _last(places, ctx.shape))
        return None, torch.cat(by_place, dim=1) * within, None


def _chunks(places: Tensor, shape: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Of some places at a time the rows of their eight corners ``(n, 8)`` and both shares along each axis ``(3, 2, n)``."""
    _, height, width = shape
    last = _last(places, shape)
    for some in places.split(_CHUNK, dim=1):
        clamped = torch.minimum(some.clamp_min(0), last)
        # A place that is not a number has the first row, and shares that are not numbers.
        lower = torch.minimum(torch.fmax(clamped.floor(), last.new_zeros(())), (last - 1).clamp_min_(0))
        x, y, z = lower.int()
        first = (x * height + y) * width + z
        corners = first.new_empty(len(first), 8)
        steps = [min(n - 1, 1) * stride for n, stride in zip(shape, (height * width, width, 1), strict=True)]
        for corner in range(8):
            offset = sum(step for bit, step in zip((4, 2, 1), steps, strict=True) if corner & bit)
            torch.add(first, offset, out=corners[:, corner])
        beyond = clamped - lower
        yield corners, torch.stack([1 - beyond, beyond], dim=1)


def _last(places: Tensor, shape: Sequence[int]) -> Tensor:
    return places.new_tensor([n - 1 for n in shape])[:, None]


def _weighted(rows: Tensor, corners: Tensor, shares: Tensor | Sequence[Tensor]) -> Tensor:
    """Sums of the rows at the ``corners``, each weighed by the product of its shares along the axes, ``(n, C)``."""
    x, y, z = shares
    weights = x[:, None, None] * (y[:, None] * z)
    return functional.embedding_bag(corners, rows, per_sample_weights=weights.flatten(0, 2).T.contiguous(), mode="sum")
