"""Displacement fields as tensors: identity, integration, warping, composition, exponential, inverse.

Conventions, stated here once:

- Volumes are ``(B, C, X, Y, Z)``; the axes are those of the array (i, j, k).
- A displacement is ``(B, 3, X, Y, Z)`` in voxels; channel c moves along axis c.
- A displacement pulls: voxel x of the result is filled from ``x + displacement(x)`` of the volume that is warped.
- Corner voxel centres map to corner voxel centres (``align_corners=True``), and the reversal of axes that
  ``grid_sample`` wants happens in :func:`sample` alone.
- Geometry is float32: a half-precision cumulative sum over 256 voxels is wrong by up to 0.8 voxel.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mics.deformation.many_channels import interpolate

Anchor = Literal["first_voxel", "line_mean"]
Padding = Literal["border", "zeros"]

_MANY_CHANNELS = 8
"""From as many on rows of channels are faster; of two or three they are slower."""


def identity(shape: Sequence[int], *, device: torch.device | str = "cpu") -> Tensor:
    """Voxel coordinates of a grid.

    Args:
        shape: Its voxels along each axis, (X, Y, Z).
        device: Of the result.

    Returns:
        ``(1, 3, X, Y, Z)`` float32, from 0 to ``n - 1`` along each axis.
    """
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def integrate(gradients: Tensor, *, anchor: Anchor = "line_mean", offset: Tensor | None = None) -> Tensor:
    """Displacement whose derivative along each axis is given: its cumulative sum along that axis, minus the identity.

    A sum leaves one constant per line open, the anchor:

    - ``"first_voxel"``, the paper's form: Φ starts at the first voxel of each line with the value of its first derivative
      (minus one). It cannot represent a translation, and a constant bias of the derivative drifts over the whole line.
    - ``"line_mean"``: the mean displacement of each line is the line's mean of ``offset``. A constant added along a line
      leaves the derivative along it untouched, hence positive. Translations are represented, a bias drifts half as far, and
      where derivative and offset agree a crop gets the same displacement as the volume that it is cut from.

    Integrated in float32 with autocast off; differentiable.

    Args:
        gradients: ``(B, 3, X, Y, Z)``: channel c holds the derivative along axis c of the c-th coordinate of Φ, in voxels per
            voxel, so that 1 everywhere is the identity.
        anchor: The constant of each line, as above.
        offset: ``(B, 3, X, Y, Z)`` in voxels, zero if none is given; ``"first_voxel"`` does not look at it.

    Returns:
        The displacement, ``(B, 3, X, Y, Z)`` float32, in voxels.

    References:
        Estienne et al., "MICS: Multi-steps, Inverse Consistency and Symmetric deep learning registration network", section 3.1.
    """
    with torch.autocast(gradients.device.type, enabled=False):
        excess = gradients.float() - 1
        lines = [torch.cumsum(excess[:, axis], dim=axis + 1) for axis in range(3)]
        if anchor == "first_voxel":
            return torch.stack(lines, dim=1)
        centred = [line - line.mean(dim=axis + 1, keepdim=True) for axis, line in enumerate(lines)]
        if offset is not None:
            means = [offset[:, axis].float().mean(dim=axis + 1, keepdim=True) for axis in range(3)]
            centred = [line + mean for line, mean in zip(centred, means, strict=True)]
        return torch.stack(centred, dim=1)


def warp(
    volume: Tensor,
    displacement: Tensor,
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Padding = "border",
) -> Tensor:
    """Fill each voxel x from ``x + displacement(x)`` of ``volume`` (backward sampling).

    In float32 with autocast off; differentiable as :func:`sample` is.

    Args:
        volume: ``(B, C, *in)``.
        displacement: ``(B, 3, *out)`` in voxels; ``in`` and ``out`` have the same voxel frame and may differ in extent.
        mode: ``"bilinear"``, which in 3D is trilinear, or ``"nearest"``.
        padding: What lies beyond the volume: ``"border"``, its border value, or ``"zeros"``, to which values fall within a voxel.

    Returns:
        ``(B, C, *out)`` float32.

    Example:
        >>> volume = torch.tensor([0.0, 10.0, 20.0, 30.0]).view(1, 1, 4, 1, 1)
        >>> displacement = torch.zeros(1, 3, 4, 1, 1)
        >>> displacement[:, 0] = 1.5  # along the first axis: each voxel takes what lies 1.5 voxels ahead
        >>> warp(volume, displacement).flatten().tolist()
        [15.0, 25.0, 30.0, 30.0]
    """
    with torch.autocast(volume.device.type, enabled=False):
        position = identity(displacement.shape[2:], device=displacement.device) + displacement.float()
        return sample(volume.float(), position, mode=mode, padding=padding)


def compose(a: Tensor, b: Tensor) -> Tensor:
    """One displacement for two: an image goes through ``b`` first, then through ``a``; points the other way round.

    ``warp(v, compose(a, b))`` is ``warp(warp(v, b), a)`` without the second interpolation. Differentiable in both.

    Args:
        a: ``(B, 3, X, Y, Z)`` in voxels.
        b: Likewise, on the same grid; beyond it, it keeps its border value.

    Returns:
        ``a(x) + b(x + a(x))``, likewise.
    """
    return a + warp(b, a)


def exponentiate(velocity: Tensor, *, squarings: int = 3) -> Tensor:
    """Displacement of the flow of a stationary velocity over unit time.

    Scaling and squaring: the flow over ``1 / 2**squarings``, by the midpoint rule, composed with itself ``squarings`` times.
    That rule's error is a power of the step smaller than that of taking the scaled velocity itself, so few squarings do, and
    every one that is not done spares an interpolation.
    ``exponentiate(-v)`` inverts ``exponentiate(v)`` up to interpolation. Differentiable.

    Args:
        velocity: ``(B, 3, X, Y, Z)`` in voxels per unit of time; beyond the grid, it keeps its border value.
        squarings: How often the flow is composed with itself.

    Returns:
        ``(B, 3, X, Y, Z)`` float32, in voxels.

    References:
        Arsigny et al. 2006, "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI.
    """
    step = velocity.float() / 2.0**squarings
    displacement = warp(step, step / 2)
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement


@torch.no_grad()
def logarithm(ab: Tensor, ba: Tensor, iterations: int = 4) -> Tensor:
    """A velocity whose exponential is near ``ab`` and whose negative's is near ``ba``; odd under swapping the two.

    Fixed point: what is left of ``ab`` after ``exp(-v)``, and of ``ba`` after ``exp(v)``, is half each added to v. Without
    gradients.

    Args:
        ab: ``(B, 3, X, Y, Z)`` in voxels.
        ba: Likewise, on the same grid: nearly the inverse of ``ab``.
        iterations: Of the fixed point.

    Returns:
        ``(B, 3, X, Y, Z)`` float32, in voxels per unit of time.
    """
    velocity = (ab - ba) / 2
    for _ in range(iterations):
        left_ab = compose(ab, exponentiate(-velocity))
        left_ba = compose(ba, exponentiate(velocity))
        velocity = velocity + (left_ab - left_ba) / 4
    return velocity


def invert(displacement: Tensor, *, iterations: int = 20) -> Tensor:
    """Inverse displacement by fixed-point iteration ``v(x) = -u(x + v(x))``.

    Converges where the displacement is a contraction (all derivatives below one in size). Differentiable.

    Args:
        displacement: u, ``(B, 3, X, Y, Z)`` in voxels; beyond the grid, it keeps its border value.
        iterations: How often v is put in; nothing stops earlier, and nothing is checked.

    Returns:
        v, ``(B, 3, X, Y, Z)`` float32, in voxels.

    References:
        Chen et al. 2008, "A simple fixed-point approach to invert a deformation field", Medical Physics 35.
    """
    inverse = -displacement.float()
    for _ in range(iterations):
        inverse = -warp(displacement, inverse)
    return inverse


def length(vectors: Tensor) -> Tensor:
    """Of ``(B, 3, …)``, ``(B, 1, …)``: the library's norm over so short an axis takes ten times as long as all the rest."""
    return vectors.square().sum(dim=1, keepdim=True).sqrt()


def resize(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Trilinear resampling to another shape, corner centres onto corner centres; differentiable.

    Args:
        volume: ``(B, C, X, Y, Z)``. The vectors of a displacement stay as long as they are (:func:`resize_displacement`).
        shape: Voxels along each axis of the result.

    Returns:
        ``(B, C, *shape)`` of the same type; ``volume`` itself where it has that shape.
    """
    if tuple(volume.shape[2:]) == tuple(shape):
        return volume
    return functional.interpolate(volume, size=tuple(shape), mode="trilinear", align_corners=True)


def along_axes(volume: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """``volume`` ``(…, X, Y, Z)`` with a matrix ``(new, old)`` multiplied onto each of its last three axes."""
    depth, height, width = volume.shape[-3:]
    rows = x @ volume.reshape(*volume.shape[:-3], depth, height * width)
    product: Tensor = (y @ rows.unflatten(-1, (height, width))) @ z.T
    return product


def downsample(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """A volume on a coarser grid with the same outermost voxel centres, as averages over that grid's voxels.

    What is only sampled there (:func:`resize`) takes what is finer than the grid for something else. Along each axis two box
    averages in a row, each over as many voxels as become one, rounded, then interpolation; interpolation alone where that is one.
    Differentiable.

    Args:
        volume: ``(B, C, X, Y, Z)`` float32; what would lie beyond it does not count.
        shape: Voxels along each axis of the result.

    Returns:
        ``(B, C, *shape)`` float32; ``volume`` itself where it has that shape.
    """
    if tuple(volume.shape[2:]) == tuple(shape):
        return volume
    x, y, z = (_averages(n, m).to(volume.device) for n, m in zip(volume.shape[2:], shape, strict=True))
    return along_axes(volume, x, y, z)


def _averages(fine: int, coarse: int) -> Tensor:
    """What each of ``fine`` voxels in a row weighs in each of ``coarse`` over the same length, (coarse, fine)."""
    width = round(fine / coarse)
    weights = torch.eye(fine, dtype=torch.float32)[None]
    if width > 1:
        # Two boxes in a row weigh the neighbours 1, 2, 1 for voxels twice as large.
        for padding in (width // 2, (width - 1) // 2):
            weights = functional.avg_pool1d(weights, width, stride=1, padding=padding, count_include_pad=False)
    return functional.interpolate(weights, size=coarse, mode="linear", align_corners=True)[0].T


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """The same displacement on a grid of another shape with the same outermost voxel centres; differentiable.

    Args:
        displacement: ``(B, 3, X, Y, Z)`` in voxels of its grid.
        shape: Voxels along each axis of the result.

    Returns:
        ``(B, 3, *shape)`` float32, linearly interpolated, in voxels of the new grid.
    """
    scale = voxel_ratio(displacement.shape[2:], shape, device=displacement.device)
    return resize(displacement.float(), shape) * scale


def voxel_ratio(source: Sequence[int], target: Sequence[int], *, device: torch.device | str = "cpu") -> Tensor:
    """Voxels of ``target`` per voxel of ``source`` along each axis, shaped ``(1, 3, 1, 1, 1)`` to scale a displacement."""
    ratio = [(t - 1) / max(s - 1, 1) for s, t in zip(source, target, strict=True)]
    return torch.tensor(ratio, dtype=torch.float32, device=device).view(1, 3, 1, 1, 1)


def sample(
    volume: Tensor,
    position: Tensor,
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Padding = "border",
) -> Tensor:
    """Values of a volume at any positions; differentiable in both, in the positions only where it interpolates.

    The one place that knows ``grid_sample``'s conventions. Positions that are no numbers give no numbers, or the border's.

    Args:
        volume: ``(B, C, *in)`` float32.
        position: ``(B, 3, *out)`` float32, in voxels of ``volume``.
        mode: ``"bilinear"``, which in 3D is trilinear, or ``"nearest"``.
        padding: What lies beyond the volume: ``"border"``, its border value, or ``"zeros"``, to which values fall within a voxel.

    Returns:
        ``(B, C, *out)`` float32.
    """
    on_cpu = volume.device.type == "cpu" and not torch.compiler.is_compiling()
    smooth, batch = mode == "bilinear" and padding == "border", volume.shape[0]
    alike = volume.dtype == position.dtype == torch.float32 and batch == position.shape[0]
    if on_cpu and smooth and alike and volume.shape[1] >= _MANY_CHANNELS and not volume.requires_grad:
        return interpolate(volume.contiguous(memory_format=torch.channels_last_3d), position)
    size = torch.tensor([max(n - 1, 1) for n in volume.shape[2:]], dtype=torch.float32, device=volume.device)
    grid = (2 * position / size.view(1, 3, 1, 1, 1) - 1).permute(0, 2, 3, 4, 1).flip(-1)
    # Going back, each part would have a gradient of the whole volume.
    alone = on_cpu and batch == 1 == position.shape[0] and not volume.requires_grad
    parts = torch.get_num_threads() if alone else 1
    if parts == 1:
        return functional.grid_sample(volume, grid, mode=mode, padding_mode=padding, align_corners=True)
    # On CPU grid_sample runs in parallel over the batch only, so the voxels of a lone volume form a batch.
    shape, places = grid.shape[1:4], grid.reshape(-1, 3)
    each = -(-len(places) // parts)
    if each * parts > len(places):
        places = functional.pad(places, (0, 0, 0, each * parts - len(places)))
    values = functional.grid_sample(
        volume.expand(parts, *volume.shape[1:]),
        places.view(parts, each, 1, 1, 3),
        mode=mode,
        padding_mode=padding,
        align_corners=True,
    )
    lone: Tensor = values.transpose(0, 1).reshape(1, volume.shape[1], -1)[..., : shape.numel()].unflatten(2, shape)
    return lone
