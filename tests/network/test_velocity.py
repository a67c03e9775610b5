"""The velocity network: inverses of each other by construction, coarse to fine; it can learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import map_coordinates

from mics.deformation.field import identity, resize, resize_displacement, warp
from mics.deformation.jacobian import fold_share
from mics.losses.overlap import dice_loss
from mics.network.velocity import Flow, VelocityConfig, VelocityMICS

TINY = VelocityConfig(channels=(4, 8, 16), decoder_normalisation=False, velocity_levels=3)
FORMS = {
    "coarse to fine": TINY,
    "finest level alone": TINY.model_copy(update={"velocity_levels": 1}),
    "normalised": TINY.model_copy(update={"decoder_normalisation": True}),
    "half resolution": TINY.model_copy(update={"stride": 2}),
}
SHAPE = (32, 24, 28)


def network(config: VelocityConfig = TINY, seed: int = 0) -> VelocityMICS:
    """A network that is not trained, but moves something, by as much at every level."""
    torch.manual_seed(seed)
    net = VelocityMICS(config)
    with torch.no_grad():
        for level, parameter in enumerate(net.velocity_heads.parameters()):
            parameter.normal_(std=0.06 / 4**level)
    return net.eval()


def smooth(seed: int) -> torch.Tensor:
    """A volume of broad spots, as anatomy is beside noise."""
    generator = torch.Generator().manual_seed(seed)
    return resize_displacement(torch.rand(1, 3, 5, 5, 5, generator=generator), SHAPE).clamp(0, 5) / 5


def gone_astray(there: torch.Tensor, back: torch.Tensor) -> np.ndarray:
    """Distance in voxels by which every voxel misses itself there and back; scipy's interpolation."""
    first, second = there[0].numpy(), back[0].numpy()
    grid = np.indices(first.shape[1:], dtype=float)
    place = grid + second
    carried = np.stack([map_coordinates(channel, place, order=1, mode="nearest") for channel in first])
    return np.linalg.norm(place + carried - grid, axis=0)


@pytest.mark.parametrize("form", FORMS)
def test_equal_volumes_give_exactly_the_identity(form: str) -> None:
    prediction = network(FORMS[form])(smooth(1), smooth(1), steps=3)
    assert prediction.displacement_ab.abs().max() == 0


@pytest.mark.parametrize("form", FORMS)
def test_swapping_the_volumes_swaps_the_deformations(form: str) -> None:
    net, a, b = network(FORMS[form]), smooth(1), smooth(2)
    forth, back = net(a, b, steps=2), net(b, a, steps=2)
    assert forth.displacement_ab.abs().max() > 0.1
    torch.testing.assert_close(forth.displacement_ab, back.displacement_ba, rtol=0, atol=0)
    torch.testing.assert_close(forth.displacement_ba, back.displacement_ab, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_two_directions_are_inverse_to_each_other(form: str, steps: int) -> None:
    """Up to interpolation, hence nearer on a finer grid; beyond the volume fields keep their border value: not counted."""
    prediction = network(FORMS[form])(smooth(1), smooth(2), steps=steps)
    size = float(prediction.displacement_ab.norm(dim=1).mean())
    residuals = []
    for finer in (1, 4):
        ab, ba = prediction.displacements(finer)
        assert ab.shape == ba.shape == (1, 3, *((n - 1) * finer + 1 for n in SHAPE))
        inner = (slice(4 * finer, -4 * finer),) * 3
        residuals.append(gone_astray(ab, ba)[inner].mean() / finer)
    assert size > 0.1
    assert residuals[1] < 0.1 * size
    assert residuals[1] < 0.3 * residuals[0]


@torch.no_grad()
def test_averaged_over_flips_the_mirrored_pair_gets_the_mirrored_deformation() -> None:
    net, a, b = network(), smooth(1), smooth(2)
    straight, turned = net.flip_averaged(a, b, steps=1), net.flip_averaged(a.flip(2), b.flip(2), steps=1)
    expected = straight.displacement_ab.flip(2) * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(turned.displacement_ab, expected, rtol=0, atol=1e-4)
    alone = net(a, b, steps=1)
    assert (alone.displacement_ab - straight.displacement_ab).abs().max() > 0.1
    there, back = straight.displacements(4)
    residuals = gone_astray(there, back)[16:-16, 16:-16, 16:-16] / 4
    assert residuals.mean() < 0.1 * float(straight.displacement_ab.norm(dim=1).mean())


@torch.no_grad()
def test_averaging_over_flips_is_symmetric_and_leaves_equal_volumes_alone_whatever_the_extents() -> None:
    net, a, b = network(), smooth(1)[:, :, :29, :23], smooth(2)[:, :, :29, :23]
    forth, back = net.flip_averaged(a, b, steps=2), net.flip_averaged(b, a, steps=2)
    torch.testing.assert_close(forth.displacement_ab, back.displacement_ba, rtol=0, atol=0)
    assert net.flip_averaged(a, a, steps=2).displacement_ab.abs().max() == 0


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-3, 3), logarithm=st.floats(-0.3, 0.3))
def test_halves_of_a_shift_and_of_a_scaling_compose_as_the_formula_says(shift: float, logarithm: float) -> None:
    """Φ = e1 ∘ e2 ∘ e2 ∘ e1 with e1 half of a translation, e2 half of a scaling about the centre."""
    shape, centre = (33, 9, 9), 16.0
    place = identity(shape)
    translation, scaling = torch.zeros(1, 3, *shape), torch.zeros(1, 3, *shape)
    translation[:, 0] = shift
    scaling[:, 0] = logarithm * (place[:, 0] - centre)
    flow = Flow(shape)
    for velocity in (translation, scaling):
        flow.add(torch.cat([velocity, -velocity]))
    there, back = flow.displacement()
    x = np.arange(shape[0])
    for displacement, sign in ((there, 1), (back, -1)):
        expected = centre + (x + sign * shift / 2 - centre) * math.exp(sign * logarithm) + sign * shift / 2
        found = x + displacement[0, 0, :, 4, 4].numpy()
        # Away from the borders, beyond which a field keeps its last value.
        np.testing.assert_allclose(found[8:-8], expected[8:-8], atol=0.02)


def test_no_step_without_a_velocity() -> None:
    with pytest.raises(ValueError, match="No velocity"):
        Flow(SHAPE).displacement()


def test_more_velocity_levels_than_levels_are_refused() -> None:
    with pytest.raises(ValidationError, match="velocity_levels is 4, of 3 levels"):
        VelocityConfig.model_validate({**TINY.model_dump(), "velocity_levels": 4})


def test_every_weight_learns_from_the_last_step() -> None:
    net = network().train()
    net(smooth(1), smooth(2), steps=2).steps[-1].displacement.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters() if p.ndim > 1)


def test_gradients_are_those_of_the_velocities_of_the_step_plus_one() -> None:
    prediction = network(FORMS["finest level alone"])(smooth(1), smooth(2), steps=2)
    velocity = prediction.velocities[1].detach().numpy()
    derivatives = prediction.steps[1].gradients.detach().flatten(0, 1).numpy()
    for axis in range(3):
        expected = np.diff(velocity, axis=axis + 2, append=np.take(velocity, [-1], axis=axis + 2))
        np.testing.assert_allclose(derivatives[:, 3 * axis : 3 * axis + 3], 1 + expected, atol=1e-6)


@pytest.mark.nightly
def test_a_far_pair_can_be_overfitted_with_hardly_a_fold() -> None:
    """Balls moved by twice their radius: they do not overlap at the start. Folds are what interpolation leaves of none."""
    torch.manual_seed(0)
    shape = (32, 24, 32)
    grid = identity(shape)

    def balls(centres: list[tuple[int, int, int]]) -> torch.Tensor:
        distances = [(grid - torch.tensor(c).view(1, 3, 1, 1, 1)).norm(dim=1) for c in centres]
        return torch.sigmoid(2 * (4.0 - torch.stack(distances, dim=1)))

    a, b = balls([(9, 10, 8), (20, 14, 14), (14, 16, 22)]), balls([(17, 10, 10), (21, 13, 22), (11, 8, 22)])
    net = VelocityMICS(TINY.model_copy(update={"channels": (8, 16, 32)}))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(120):
        optimiser.zero_grad()
        steps = net(a, b, steps=2).steps
        loss = torch.stack([dice_loss(warp(a, step.displacement[0]), b) for step in steps]).sum()
        (loss + torch.stack([(step.gradients - 1).square().mean() for step in steps]).sum()).backward()
        optimiser.step()
    with torch.no_grad():
        ab, ba = net(a, b, steps=2).displacements(4)
    moving, fixed = ((resize(balls_of, ab.shape[2:]) > 0.5).float() for balls_of in (a, b))
    assert 1 - dice_loss(warp(moving, ab, mode="nearest"), fixed) > 0.85
    assert fold_share(ab) < 1e-4
    assert gone_astray(ab, ba)[16:-16, 16:-16, 16:-16].mean() / 4 < 0.1
