"""LapIRN's similarity pyramid against scipy, and how scales are weighted."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from mics.deformation.field import downsample
from mics.losses.paper import Direction
from mics.losses.pyramid import ncc_pyramid_loss
from mics.losses.total import Volumes, step_losses

SHAPE = (16, 20, 16)


def loss(warped: torch.Tensor, target: torch.Tensor, halvings: int) -> float:
    still = torch.zeros(len(warped), 3, *warped.shape[2:])
    return float(ncc_pyramid_loss(Direction(warped, target, still + 1, still, still, halvings=halvings)))


def pair(shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.rand(2, 2, 3, *shape, generator=torch.Generator().manual_seed(0))
    return a, (a + b) / 2


FLOOR = 0.01**2
"""What variances and covariance have more than those of the numbers, so that noise of a hundredth of a window is no structure."""


def by_scipy(warped: torch.Tensor, target: torch.Tensor, width: int) -> float:
    """One minus the squared correlation coefficient in every cube that lies within the volume, its mean over all windows."""
    inner = (slice(width // 2, -(width // 2)),) * 3
    means = []
    for x, y in zip(warped.flatten(0, 1).double().numpy(), target.flatten(0, 1).double().numpy(), strict=True):
        mean_x, mean_y = uniform_filter(x, width)[inner], uniform_filter(y, width)[inner]
        covariance = uniform_filter(x * y, width)[inner] - mean_x * mean_y
        variances = [uniform_filter(v * v, width)[inner] - mean**2 for v, mean in ((x, mean_x), (y, mean_y))]
        means.append(np.mean(1 - (covariance + FLOOR) ** 2 / ((variances[0] + FLOOR) * (variances[1] + FLOOR))))
    return float(np.mean(means))


def test_at_a_quarter_of_the_resolution_it_is_one_correlation_in_cubes_of_three_voxels() -> None:
    assert loss(*pair(), halvings=2) == pytest.approx(by_scipy(*pair(), width=3), abs=1e-5)


def test_a_finer_grid_adds_its_own_correlation_in_wider_cubes_before_half_of_the_coarser_ones() -> None:
    coarser = [downsample(volume, [extent // 2 for extent in SHAPE]) for volume in pair()]
    # What is four times as coarse is averaged at once there, and here in two steps.
    for halvings, width, near in ((1, 5, 1e-5), (0, 7, 1e-3)):
        expected = by_scipy(*pair(), width=width) + loss(*coarser, halvings=halvings + 1) / 2
        assert loss(*pair(), halvings=halvings) == pytest.approx(expected, abs=near)


def test_without_a_word_of_halvings_the_grid_is_as_fine_as_the_network_s_input() -> None:
    warped, target = pair()
    still = torch.zeros(len(warped), 3, *SHAPE)
    finest = loss(warped, target, halvings=0)
    assert float(ncc_pyramid_loss(Direction(warped, target, still + 1, still, still))) == finest
    both = torch.stack([still, still])
    losses = step_losses(Volumes(warped), Volumes(target), both + 1, both, ["ncc_pyramid"])
    assert losses["ncc_pyramid"].tolist() == pytest.approx([finest, loss(target, warped, halvings=0)], rel=1e-4)


def test_equal_volumes_up_to_brightness_and_contrast_cost_next_to_nothing() -> None:
    a, b = pair()
    assert loss(a, a, halvings=0) == pytest.approx(0, abs=1e-5)
    assert loss(0.5 * a + 0.2, a, halvings=0) < 0.1 < loss(b, a, halvings=0)


def test_half_precision_around_it_changes_nothing() -> None:
    plain = loss(*pair(), halvings=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(*pair(), halvings=0) == plain
