"""Lseg: overlap of the warped and the target organs; and what a case with partial annotations says."""

from collections.abc import Sequence

import torch
from torch import Tensor

_ROUNDING = 0.01


def one_hot(labels: Tensor, organs: int | Sequence[int]) -> Tensor:
    """One map an organ; the background has none.

    Args:
        labels: ``(B, 1, X, Y, Z)`` integers.
        organs: The ids of the maps, or the number of organs, whose ids then are 1 to that number.

    Returns:
        ``(B, organs, X, Y, Z)`` float32, 0 or 1.
    """
    ids = torch.tensor(range(1, organs + 1) if isinstance(organs, int) else organs, device=labels.device)
    return (labels == ids.view(1, -1, 1, 1, 1)).float()


def annotated_in_both(a: Tensor, b: Tensor) -> Tensor:
    """Which organs both sets of organ maps contain.

    Args:
        a: ``(B, organs, X, Y, Z)``.
        b: The same of the other volume.

    Returns:
        ``(B, organs)`` truth values.
    """
    return (a.amax((2, 3, 4)) > 0) & (b.amax((2, 3, 4)) > 0)


def marginal_logits(logits: Tensor, annotated: Tensor) -> Tensor:
    """Logits of the classes that a case's labels can tell apart.

    Where an organ is not annotated, "background" in the labels means background or that organ: its probability is added to the
    background's and its own logit becomes minus infinity. With every organ annotated the logits return unchanged.

    Args:
        logits: ``(B, 1 + organs, X, Y, Z)``, background first.
        annotated: ``(B, organs)`` truth values.

    Returns:
        Logits of the same shape.

    References:
        The marginal loss of Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ
        segmentation".
    """
    missing = ~annotated[:, :, None, None, None]
    unlabelled = torch.cat([torch.ones_like(missing[:, :1]), missing], dim=1)
    background = logits.masked_fill(~unlabelled, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(missing, -torch.inf)], dim=1)


def dice_loss(
    warped: Tensor, target: Tensor, mask: Tensor | None = None, *, squared: bool = False, smooth: float = 0.0
) -> Tensor:
    """One minus soft Dice ``(2 Σ pq + s) / (Σ (p + q) + s)``, mean over a sample's organs, then over the batch.

    Args:
        warped: Organ maps ``(B, organs, X, Y, Z)`` in [0, 1].
        target: The same of the other volume.
        mask: ``(B, organs)``, which organs count; the others are left out, not scored as zero. A sample without a counted organ
            has a loss of zero.
        squared: Whether ``Σ (p² + q²)`` stands below, which is the same for binary maps.
        smooth: s, in voxels: with it an organ that neither map shows has no loss, and one that ``target`` lacks costs what
            ``warped`` shows of it.

    Returns:
        A scalar in [0, 1].

    References:
        Milletari et al. 2016, "V-Net", for the squares.
    """
    overlap = (warped * target).sum((2, 3, 4))
    size = (warped.square() + target.square() if squared else warped + target).sum((2, 3, 4))
    loss = 1 - (2 * overlap + smooth) / (size + smooth).clamp_min(1e-5)
    if mask is None:
        return loss.mean()
    return (torch.where(mask, loss, 0).sum(1) / mask.sum(1).clamp_min(1)).mean()


def bray_curtis_loss(warped: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """``Σ |p - q| / Σ (p + q)``, mean over organs and batch, for two soft maps.

    One minus Dice where both maps are binary. Unlike :func:`dice_loss` it is zero, smallest and stationary where the two
    soft maps are equal, so that equal volumes are not pulled apart.

    Args:
        warped: Organ maps ``(B, organs, X, Y, Z)`` in [0, 1].
        target: The same of the other volume.
        weights: ``(B, organs)``, by which the organs' losses are multiplied before the mean.

    Returns:
        A scalar; without weights in [0, 1].

    References:
        Bray and Curtis 1957, "An ordination of the upland forest communities of southern Wisconsin".
    """
    # Rounded at zero, where the slope would jump from -1 to 1 with the last digit of a difference.
    difference = ((warped - target).square() + _ROUNDING**2).sqrt().sub(_ROUNDING).sum((2, 3, 4))
    size = (warped + target).sum((2, 3, 4))
    loss = difference / (size + 1e-3)
    return (loss if weights is None else weights * loss).mean()


def expected_precision(maps: Tensor) -> Tensor:
    """How sure soft maps are of each organ, ``Σ p² / Σ p``: each voxel's probability, averaged with the map as the weight.

    Args:
        maps: ``(B, organs, X, Y, Z)`` in [0, 1].

    Returns:
        ``(B, organs)`` in [0, 1]: 1 for binary maps, 0 for an organ that is nowhere.
    """
    return maps.square().sum((2, 3, 4)) / maps.sum((2, 3, 4)).clamp_min(1e-3)
