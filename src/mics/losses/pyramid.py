"""The similarity pyramid of LapIRN, for networks that are trained coarse to fine."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mics.deformation.field import downsample
from mics.losses.correlation import LocalNCC
from mics.losses.paper import Direction

_SCALES = 3
_MIN_WIDTH = 3


def ncc_pyramid_loss(direction: Direction) -> Tensor:
    """Local correlation at the grid's resolution and the coarser ones, each half as fine and with half the weight.

    There are three scales at the resolution of the network's input, and one less for each halving. Cubes are 3 voxels wide at the
    coarsest scale, 5 at the next and 7 at the finest; a scale gives one minus the squared correlation, the mean over the windows.

    Args:
        direction: One direction of one step.

    Returns:
        A scalar from 0 to the sum of the weights.

    References:
        Mok, Chung 2020, "Large deformation diffeomorphic image registration with Laplacian pyramid networks", MICCAI.
    """
    scales = max(_SCALES - direction.halvings, 1)
    # Each window of each volume is a volume of its own.
    warped, target = (windows.flatten(0, 1)[:, None] for windows in (direction.warped, direction.target))
    with torch.autocast(warped.device.type, enabled=False):
        return torch.stack(list(_scale_losses(warped.float(), target.float(), scales))).sum()


def _scale_losses(warped: Tensor, target: Tensor, scales: int) -> Iterator[Tensor]:
    """One weighted term a scale, from the finest on, of volumes ``(N, 1, X, Y, Z)``."""
    for coarser in range(scales):
        shape = [extent >> coarser for extent in target.shape[2:]]
        similarity = LocalNCC(downsample(target, shape), width=_MIN_WIDTH + 2 * (scales - 1 - coarser))
        moved = downsample(warped, shape)
        yield similarity.loss(moved, torch.ones_like(moved)) / 2**coarser
