"""LapIRN's similarity pyramid against scipy, and how scales are weighted."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from mics.deformation.field import downsample
from mics.losses.paper import Direction
from mics.losses.pyramid import ncc_pyramid_loss

SHAPE = (16, 20, 16)


def loss(warped: torch.Tensor, target: torch.Tensor, halvings: int) -> float:
    still = torch.zeros(len(warped), 3, *warped.shape[2:])
    return float(ncc_pyramid_loss(Direction(warped, target, still + 1, still, still, halvings=halvings)))


def pair(shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.rand(2, 2, 3, *shape, generator=torch.Generator().manual_seed(0))
    return a, (a + b) / 2


def by_scipy(warped: torch.Tensor, target: torch.Tensor, width: int) -> float:
    """One minus the squared correlation coefficient in every cube that lies within the volume, its mean over all windows."""
    inner = (slice(width // 2, -(width // 2)),) * 3
    means = []
    for x, y in zip(warped.flatten(0, 1).double().numpy(), target.flatten(0, 1).double().numpy(), strict=True):
        mean_x, mean_y = uniform_filter(x, width)[inner], uniform_filter(y, width)[inner]
        covariance = uniform_filter(x * y, width)[inner] - mean_x * mean_y
        variances = [uniform_filter(v * v, width)[inner] - mean**2 for v, mean in ((x, mean_x), (y, mean_y))]
        means.append(np.mean(1 - covariance**2 / (variances[0] * variances[1])))
    return float(np.mean(means))


def test_at_a_quarter_of_the_resolution_it_is_one_correlation_in_cubes_of_three_voxels() -> None:
    assert loss(*pair(), halvings=2) == pytest.approx(by_scipy(*pair(), width=3), abs=0.01)  # but for its floor


def test_a_finer_grid_adds_its_own_correlation_in_wider_cubes_before_half_of_the_coarser_ones() -> None:
    coarser = [downsample(volume, [extent // 2 for extent in SHAPE]) for volume in pair()]
    for halvings, width in ((1, 5), (0, 7)):
        expected = by_scipy(*pair(), width=width) + loss(*coarser, halvings=halvings + 1) / 2
        assert loss(*pair(), halvings=halvings) == pytest.approx(expected, abs=0.01)


def test_equal_volumes_up_to_brightness_and_contrast_cost_next_to_nothing() -> None:
    a, b = pair()
    assert loss(a, a, halvings=0) == pytest.approx(0, abs=1e-5)
    assert loss(0.5 * a + 0.2, a, halvings=0) < 0.1 < loss(b, a, halvings=0)


def test_half_precision_around_it_changes_nothing() -> None:
    plain = loss(*pair(), halvings=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(*pair(), halvings=0) == plain
