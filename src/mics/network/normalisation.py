"""Instance normalisation and leaky ReLU in one, keeping for the backward pass only what comes out."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_EPSILON = 1e-5
_CHUNK = 2**18
"""Numbers that are summed at a time: so few that a processor's cache holds them."""
_GUESSED_FROM = 64
"""Voxels from which a first guess of the means is made."""


def normalise_and_activate(features: Tensor, slope: float) -> Tensor:
    """Leaky ReLU of instance-normalised features.

    Mean zero and variance one (biased, plus 1e-5) over the voxels of each channel, without learnt factors. Both functions are
    invertible, so the backward pass works from the result, which the next convolution keeps anyway; the input can go.

    Args:
        features: ``(B, C, X, Y, Z)``.
        slope: Of negative values; positive.

    Returns:
        ``(B, C, X, Y, Z)``, in the memory format and precision of the features; nothing for a batch of none.

    References:
        Rota Bulò et al. 2018, "In-place activated BatchNorm for memory-optimized training of DNNs".
    """
    if features.shape[0] == 0:
        return features.clone()
    result: Tensor = _NormaliseAndActivate.apply(features, slope)  # type: ignore[no-untyped-call]
    return result


class _NormaliseAndActivate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: float) -> Tensor:
        result, inverse_deviation = _normalised(features)
        functional.leaky_relu_(result, slope)
        ctx.save_for_backward(result, inverse_deviation)
        ctx.slope = slope
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        result, inverse_deviation = ctx.saved_tensors
        slope: float = ctx.slope
        normalised = functional.leaky_relu(result, 1 / slope)
        gradient = torch.ops.aten.leaky_relu_backward(gradients[0], result, slope, True)
        # d = (g - mean(g) - n mean(g n)) / deviation
        factor = inverse_deviation.float().view(*result.shape[:2], 1, 1, 1)
        offset, along = (-factor * mean for mean in _means(gradient, normalised))
        result = torch.addcmul(offset.to(gradient.dtype), gradient, factor.to(gradient.dtype))
        return result.addcmul_(normalised, along.to(gradient.dtype)), None


def _normalised(features: Tensor) -> tuple[Tensor, Tensor]:
    """``features`` with mean zero and variance one, and one over their deviation ``(B, C)``."""
    batch, channels = features.shape[:2]
    if features.device.type != "cpu":
        # One group a channel is instance normalisation; the kernel knows no other format there.
        result, _, inverse_deviation = torch.native_group_norm(
            features.contiguous(), None, None, batch, channels, features[0, 0].numel(), channels, _EPSILON
        )
        return result, inverse_deviation
    # In channels last, group_norm's sums over a volume are off by so much that values of one come out as two, and batch_norm
    # that is given the sums of its own is as fast.
    mean, variance = _mean_and_variance(features)
    exact = torch.promote_types(features.dtype, torch.float32)
    volumes = zip(features.split(1), mean.to(exact), variance.to(exact), strict=True)
    normalised = [torch.native_batch_norm(one, None, None, m, v, False, 0.0, _EPSILON)[0] for one, m, v in volumes]
    return (normalised[0] if batch == 1 else torch.cat(normalised)), (variance + _EPSILON).rsqrt()


def _mean_and_variance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel over its voxels, ``(B, C)`` in float64; in one pass, from differences to a guess of the mean.

    Shifted data (Chan, Golub, LeVeque 1983), so that no digits cancel where a mean is far larger than the deviation.
    """
    rows = features.permute(0, 2, 3, 4, 1).flatten(1, 3)
    count, channels = rows.shape[1:]
    guess = rows[:, :: max(count // _GUESSED_FROM, 1)].float().mean(1, keepdim=True)
    first, second = (rows.new_zeros(rows.shape[0], channels, dtype=torch.float64) for _ in range(2))
    for part in rows.split(max(_CHUNK // channels, 1), dim=1):
        difference = part - guess
        first += difference.sum(1)
        second += difference.square_().sum(1)
    offset = first / count
    return guess[:, 0] + offset, (second / count - offset.square()).clamp(min=0)


def _means(gradient: Tensor, normalised: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``gradient`` and of ``gradient * normalised`` over the voxels of each channel, ``(B, C, 1, 1, 1)`` in float32."""
    # As matrix products, which in half precision are several times as fast as sums, and add up in float32 all the same.
    g, n = gradient.flatten(2), normalised.flatten(2)
    ones = g.new_ones(g.shape[0], g.shape[2], 1)
    sums = torch.bmm(g, ones)[..., 0], torch.bmm(g, n.transpose(1, 2)).diagonal(dim1=1, dim2=2)
    plain, product = (total.float().view(*g.shape[:2], 1, 1, 1) / g.shape[2] for total in sums)
    return plain, product
