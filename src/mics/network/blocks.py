"""Building blocks of the 3D U-Nets: convolution block, encoder, decoder, and extents that they can halve."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mics.network.normalisation import normalise_and_activate

SLOPE = 0.1
"""Of the leaky ReLU."""
_UNSAFE = 2
"""Voxels along the first axis: :class:`Convolution`."""
_CHUNK = 2**27
"""Numbers of the joined features that are convolved at a time in inference."""


class Convolution(nn.Conv3d):
    """3³ convolution without bias.

    Where the first axis has two voxels, it is computed in float32: on processors that multiply matrices in bfloat16 (AMX), oneDNN
    then leaves a part of the weights' gradient in bfloat16 as it finds the memory (torch 2.13; ``tests/network/test_blocks.py``).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """``(B, in_channels, X, Y, Z)`` to ``(B, out_channels, X, Y, Z)``."""
        if input.shape[2] != _UNSAFE or input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class ConvBlock(nn.Sequential):
    """3³ convolution, instance normalisation, leaky ReLU; no bias, so that zero in gives zero out.

    Args:
        in_channels: Of what comes in.
        out_channels: Of what comes out.
        normalise: Whether there is a normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int, *, normalise: bool = True) -> None:
        super().__init__(Convolution(in_channels, out_channels))
        self.normalise = normalise

    @property
    def convolution(self) -> nn.Module:
        """What comes first."""
        return self[0]

    def forward(self, volume: Tensor) -> Tensor:
        """``(B, in_channels, X, Y, Z)`` to ``(B, out_channels, X, Y, Z)``."""
        return self.activation(self.convolution(volume))

    def activation(self, features: Tensor) -> Tensor:
        """What follows the convolution."""
        if self.normalise:
            return normalise_and_activate(features, SLOPE)
        return functional.leaky_relu_(features, SLOPE)


class Merge(nn.Sequential):
    """Two convolution blocks on a level's up-sampled and own features, of which it makes as many as either has.

    Args:
        channels: Of either.
        normalise: Whether the blocks normalise.
    """

    def __init__(self, channels: int, *, normalise: bool = True) -> None:
        super().__init__(
            ConvBlock(2 * channels, channels, normalise=normalise), ConvBlock(channels, channels, normalise=normalise)
        )

    @property
    def blocks(self) -> tuple[ConvBlock, ConvBlock]:
        """The first and the second."""
        return cast(ConvBlock, self[0]), cast(ConvBlock, self[1])


class Encoder(nn.Module):
    """Feature pyramid of a volume: level l has ``channels[l]`` channels at ``1 / (stem_stride * 2**l)`` of the resolution.

    Two convolution blocks at the top, one per further level after a down-sampling convolution of kernel 2, stride 2. A
    ``stem_stride`` of 2 puts the top at half the resolution of the input by the same kind of convolution.

    Args:
        in_channels: Of the volume.
        channels: Of each level, finest first.
        stem_stride: 1 or 2.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], *, stem_stride: int = 1) -> None:
        super().__init__()
        self.recompute = False
        stem: list[nn.Module] = []
        if stem_stride > 1:
            stem = [nn.Conv3d(in_channels, channels[0], stem_stride, stride=stem_stride)]
            in_channels = channels[0]
        top = nn.Sequential(*stem, ConvBlock(in_channels, channels[0]), ConvBlock(channels[0], channels[0]))
        deeper = [
            nn.Sequential(nn.Conv3d(upper, lower, 2, stride=2), ConvBlock(lower, lower))
            for upper, lower in pairwise(channels)
        ]
        self.levels = nn.ModuleList([top, *deeper])

    def forward(self, volume: Tensor) -> list[Tensor]:
        """``(B, in_channels, X, Y, Z)`` to one tensor per level, finest first."""
        volume, features = to_channels_last(volume), []
        for level in self.levels:
            volume = _run(level, volume, recompute=self.recompute)
            features.append(volume)
        return features


class Decoder(nn.Module):
    """Merges a feature pyramid from its deepest to its finest level; without bias, so that zero in gives zero out.

    Up-sampling by transposed convolution of kernel 2, stride 2; two convolution blocks per level. With
    ``normalise=False`` it is positively homogeneous: features half as large give an output half as large. The initial
    weights keep the size of the features (He et al. 2015); the framework's own would shrink them a hundredfold.

    Args:
        channels: Of each level of the pyramid, finest first.
        normalise: Whether convolution blocks normalise.
    """

    def __init__(self, channels: Sequence[int], *, normalise: bool = True) -> None:
        super().__init__()
        self.recompute = False
        pairs = list(pairwise(channels))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose3d(lower, upper, 2, stride=2, bias=False) for upper, lower in pairs)
        self.merge = nn.ModuleList(Merge(upper, normalise=normalise) for upper, _ in pairs)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
            elif isinstance(module, nn.ConvTranspose3d):
                # Kernel 2, stride 2: an output voxel is a sum over the input channels alone.
                nn.init.normal_(module.weight, std=module.in_channels**-0.5)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features as the encoder gives them, finest first, to the decoded ones, finest first (the deepest unchanged)."""
        decoded = [features[-1]]
        for level in reversed(range(len(features) - 1)):
            decoded.append(self.decode_level(level, decoded[-1], features[level]))
        return decoded[::-1]

    def decode_level(self, level: int, deeper: Tensor, skip: Tensor) -> Tensor:
        """The decoded features of a level.

        Args:
            level: 0 is the finest.
            deeper: Decoded features of the next deeper level, ``(B, channels[level + 1], X / 2, Y / 2, Z / 2)``.
            skip: The level's own features, ``(B, channels[level], X, Y, Z)``.

        Returns:
            ``(B, channels[level], X, Y, Z)``.
        """
        place = len(self.up) - 1 - level
        deeper, skip = to_channels_last(deeper), to_channels_last(skip)
        up, merge = self.up[place], cast(Merge, self.merge[place])
        return _run(partial(_decode_level, up, merge), deeper, skip, recompute=self.recompute)


def recompute_activations(network: nn.Module, wanted: bool) -> None:
    """Whether training keeps only what each level of an encoder or decoder gives, and computes the rest again going back.

    Less memory for more time, one volume after the other; results stay the same.

    Args:
        network: Whose encoders and decoders are set.
        wanted: Whether they compute again.

    References:
        Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """
    for module in network.modules():
        if isinstance(module, Encoder | Decoder):
            module.recompute = wanted


def to_channels_last(volume: Tensor) -> Tensor:
    """A volume in the memory format in which convolutions are fastest: on a CPU channels last, and what follows keeps it.

    Args:
        volume: ``(B, C, X, Y, Z)``.

    Returns:
        The same values.
    """
    return volume.contiguous(memory_format=torch.channels_last_3d) if volume.device.type == "cpu" else volume


def _run(function: Callable[..., Tensor], *inputs: Tensor, recompute: bool) -> Tensor:
    learning = torch.is_grad_enabled()
    if learning and not recompute:
        return function(*inputs)
    # Volume by volume, so that no more than one is at work, or computed again, at a time.
    volumes = list(zip(*(tensor.split(1) for tensor in inputs), strict=True))
    if learning:
        return torch.cat([checkpoint(function, *volume, use_reentrant=False) for volume in volumes])
    first = function(*volumes[0])
    if len(volumes) == 1:
        return first
    results = torch.empty_like(first.expand(len(volumes), *first.shape[1:]), memory_format=_format(first))
    results[:1] = first
    del first
    for place, volume in enumerate(volumes[1:], start=1):
        results[place : place + 1] = function(*volume)
    return results


def _format(volume: Tensor) -> torch.memory_format:
    last = torch.channels_last_3d
    return last if volume.is_contiguous(memory_format=last) else torch.contiguous_format


def _decode_level(up: nn.Module, merge: Merge, deeper: Tensor, skip: Tensor) -> Tensor:
    first, second = merge.blocks
    # What goes into a convolution is gone before the normalisation needs as much again.
    return second.activation(
        second.convolution(first.activation(_convolved_together(up, first.convolution, deeper, skip)))
    )


def _convolved_together(up: nn.Module, convolution: nn.Module, deeper: Tensor, skip: Tensor) -> Tensor:
    """The convolution of the up-sampled and the own features; in inference in slabs that keep what is joined small."""
    length = skip.shape[2]
    rows = max(2, _CHUNK // (2 * skip[:, :, 0].numel()) // 2 * 2)
    if rows >= length or torch.is_grad_enabled():
        joined: Tensor = convolution(torch.cat([up(deeper), skip], dim=1))
        return joined
    result: Tensor | None = None
    for start in range(0, length, rows):
        # Two rows more at either end, because there the convolution would see zeros, which belong beyond the volume.
        stop, low, high = min(start + rows, length), max(start - 2, 0), min(start + rows + 2, length)
        together = torch.cat([up(deeper[:, :, low // 2 : high // 2]), skip[:, :, low:high]], dim=1)
        part = convolution(together)[:, :, start - low : stop - low]
        if result is None:
            shape = (*part.shape[:2], *skip.shape[2:])
            result = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=_format(part))
        result[:, :, start:stop] = part
    assert result is not None
    return result


def pad_to_multiple(volume: Tensor, divisor: int) -> Tensor:
    """Pad a volume at its high ends with the border value.

    Args:
        volume: ``(B, C, X, Y, Z)``.
        divisor: Of the padded extents, which are two times it at the least.

    Returns:
        The padded volume; the same tensor where nothing is missing.
    """
    target = [max(-(-n // divisor), 2) * divisor for n in volume.shape[2:]]
    x, y, z = (t - n for t, n in zip(target, volume.shape[2:], strict=True))
    return functional.pad(volume, (0, z, 0, y, 0, x), mode="replicate") if x or y or z else volume
