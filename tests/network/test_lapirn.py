"""LapIRN: shapes and units of every level, both directions by exchange, and which levels are trained when."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from mics.deformation.field import resize
from mics.network.lapirn import LEVELS, LapIRN, LapIRNConfig

TINY = LapIRNConfig(channels=4, blocks=1)
SHAPE = (32, 24, 28)


def network(seed: int = 0) -> LapIRN:
    """A network that is not trained, but moves something at every level."""
    torch.manual_seed(seed)
    net = LapIRN(TINY)
    with torch.no_grad():
        for level in net.levels:
            level.head[-1].weight.normal_(std=1.0)
    return net.eval()


def smooth(seed: int) -> torch.Tensor:
    """A volume of broad spots."""
    return resize(torch.rand(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(seed)), SHAPE)


@torch.no_grad()
def test_exchanging_the_volumes_exchanges_the_deformations() -> None:
    net, a, b = network(), smooth(1), smooth(2)
    forth, back = net(a, b, steps=2), net(b, a, steps=2)
    assert forth.displacement_ab.shape == (1, 3, *SHAPE)
    assert forth.displacement_ab.abs().max() > 0.5
    torch.testing.assert_close(forth.displacement_ab, back.displacement_ba, rtol=0, atol=0)
    torch.testing.assert_close(forth.displacement_ba, back.displacement_ab, rtol=0, atol=0)


@torch.no_grad()
def test_in_training_the_prediction_lies_on_the_grid_of_the_level_whose_time_it_is() -> None:
    net = network().train()
    for share, divisor in ((0.0, 4), (0.24, 4), (0.25, 2), (0.49, 2), (0.5, 1), (0.99, 1)):
        net.progress(share)
        (step,) = net(smooth(1), smooth(2), steps=1).steps
        coarse = tuple(extent // divisor for extent in (32, 24, 32))  # padded to what the levels divide
        assert step.displacement.shape == (2, 1, 3, *coarse)
        assert step.gradients.shape == (2, 1, 9, *coarse)
        net.eval()
        assert net(smooth(1), smooth(2), steps=1).steps[0].displacement.shape[3:] == (32, 24, 32)
        net.train()


@pytest.mark.parametrize(
    ("share", "learning"),
    [
        (0.0, {0}),
        (0.2499, {0}),
        (0.25, {1}),  # the first rests for 2,000 of 120,000 iterations
        (0.2666, {1}),
        (0.2668, {0, 1}),
        (0.5, {2}),
        (0.5167, {0, 1, 2}),
        (0.999, {0, 1, 2}),
    ],
)
def test_levels_join_one_after_the_other_and_those_before_rest_at_first(share: float, learning: set[int]) -> None:
    net = network().train()
    net.progress(share)
    net(smooth(1), smooth(2), steps=1).steps[-1].displacement.square().sum().backward()
    for number, level in enumerate(net.levels):
        learns = [parameter.grad is not None and bool(parameter.grad.any()) for parameter in level.parameters()]
        assert all(learns) if number in learning else not any(learns), number


@torch.no_grad()
def test_a_level_that_predicts_nothing_leaves_the_coarser_ones_deformation() -> None:
    net = network()
    for level in net.levels[1:]:
        level.head[-1].weight.zero_()
    fine = net(smooth(1), smooth(2), steps=1).steps[0].displacement
    net.train().progress(0.0)
    coarse = net(smooth(1), smooth(2), steps=1).steps[0].displacement
    # In the fine grid's voxels, at its outermost centres, which both grids have.
    ratio = torch.tensor([31 / 7, 23 / 5, 31 / 7])
    corners = np.ix_(*[(0, -1)] * 3)
    for direction in range(2):
        found = fine[direction, 0].movedim(0, -1).numpy()[corners]
        expected = (coarse[direction, 0].movedim(0, -1) * ratio).numpy()[corners]
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


@torch.no_grad()
def test_the_deformation_is_the_exponential_of_a_velocity() -> None:
    """A head that gives the same logit everywhere is a translation by softsign(logit) of 0.4 half extents, whatever the level."""
    net = network()

    class Constant(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 3, *features.shape[2:]), 0.25)

    for level in net.levels:
        level.head = Constant()
    displacement = net(smooth(1), smooth(2), steps=1).steps[0].displacement
    each = 0.4 * 0.25 / 1.25
    expected = [LEVELS * each * (extent - 1) / 2 for extent in (32, 24, 32)]
    for axis, length in enumerate(expected):
        torch.testing.assert_close(displacement[:, :, axis], torch.full((2, 1, 32, 24, 32), length))


@torch.no_grad()
def test_a_linear_velocity_is_integrated_as_the_matrix_exponential_says() -> None:
    """Towards the centre, where the flow of v(x) = -0.3 (x - c) is x -> c + exp(-0.3) (x - c)."""
    net = network()

    class Linear(torch.nn.Module):
        def __init__(self, slope: float) -> None:
            super().__init__()
            self.slope = slope

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            axes = [torch.linspace(-1, 1, extent) for extent in features.shape[2:]]
            wanted = self.slope * torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] / 0.4
            return wanted / (1 - wanted.abs())  # softsign's inverse

    for number, level in enumerate(net.levels):
        level.head = Linear(-0.3 if number == 0 else 0.0)
    displacement = net(smooth(1), smooth(2), steps=1).steps[0].displacement[0, 0]
    kept = expm(np.diag([-0.3] * 3))[0, 0]
    for axis, extent in enumerate((32, 24, 32)):
        x = np.arange(extent) - (extent - 1) / 2
        line = displacement[axis].movedim(axis, 0)[:, 5, 5].numpy()
        np.testing.assert_allclose(line, (kept - 1) * x, atol=0.02)
