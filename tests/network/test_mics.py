"""The symmetric network: identity, symmetry and multi-step by construction; it can learn."""

import pytest
import torch
from torch.nn.functional import mse_loss

from mics.deformation.field import compose, identity, resize_displacement, warp
from mics.errors import InputError
from mics.losses.overlap import dice_loss
from mics.network.blocks import pad_to_multiple
from mics.network.mics import MICS, MICSConfig
from mics.network.presets import PRESETS

TINY = MICSConfig(channels=(4, 8, 16))
FORMS = {
    "normalised": TINY,
    "homogeneous": TINY.model_copy(update={"decoder_normalisation": False}),
    "first voxel": TINY.model_copy(update={"anchor": "first_voxel"}),
    "half resolution": TINY.model_copy(update={"stride": 2}),
}
SHAPE = (16, 24, 18)
# Of a voxel: the first and the second volume of a batch may be added up in another order.
_ROUNDING = 1e-4


def network(config: MICSConfig = TINY, seed: int = 0, scale: float = 1.0) -> MICS:
    """A network with random weights large enough to deform visibly."""
    torch.manual_seed(seed)
    net = MICS(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=scale * 0.3)
    return net.eval()


def pair(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, *SHAPE, generator=generator), torch.rand(1, 3, *SHAPE, generator=generator)


def blobs(centres: list[tuple[float, float, float]], radius: float, shape: tuple[int, int, int]) -> torch.Tensor:
    """Smooth balls, one per centre, ``(1, n, X, Y, Z)``."""
    grid = identity(shape)
    distances = [(grid - torch.tensor(c).view(1, 3, 1, 1, 1)).norm(dim=1) for c in centres]
    return torch.sigmoid(2 * (radius - torch.stack(distances, dim=1)))


def test_paper_preset_has_about_twenty_million_parameters() -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in MICS(PRESETS["paper"]).parameters())
    assert 19e6 < count < 21e6


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_volumes_give_exactly_the_identity(form: str, seed: int) -> None:
    a, _ = pair()
    prediction = network(FORMS[form], seed, scale=5.0)(a, a.clone(), steps=3)
    assert prediction.displacement_ab.abs().max() < 1e-5
    assert prediction.displacement_ba.abs().max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_swapping_the_volumes_swaps_the_deformations(form: str) -> None:
    a, b = pair()
    net = network(FORMS[form])
    forth, back = net(a, b, steps=2), net(b, a, steps=2)
    assert forth.displacement_ab.abs().max() > 0.1
    torch.testing.assert_close(forth.displacement_ab, back.displacement_ba, rtol=0, atol=_ROUNDING)
    torch.testing.assert_close(forth.displacement_ba, back.displacement_ab, rtol=0, atol=_ROUNDING)


@pytest.mark.parametrize("form", FORMS)
def test_predicted_derivatives_are_positive_and_are_those_of_the_displacement(form: str) -> None:
    a, b = pair()
    step = network(FORMS[form], scale=0.3)(a, b, steps=1).steps[0]
    assert step.gradients.min() > 0
    for axis in range(3):
        measured = step.displacement[:, :, axis].diff(dim=axis + 2) + 1
        expected = step.gradients[:, :, axis].narrow(axis + 2, 1, step.gradients.shape[axis + 3] - 1)
        torch.testing.assert_close(
            measured, expected, rtol=0, atol=1e-5 * float(step.displacement.detach().abs().max())
        )


def test_two_steps_are_two_single_steps_composed() -> None:
    """The features of the targets are reused; a network called twice, the plain way, encodes everything again."""
    a, b = pair()
    a, b = (pad_to_multiple(volume, TINY.divisor) for volume in (a, b))
    net = network()
    both = net(a, b, steps=2)
    first = net(a, b, steps=1)
    a1, b1 = warp(a, first.displacement_ab), warp(b, first.displacement_ba)
    expected_ab = compose(net(a1, b, steps=1).displacement_ab, first.displacement_ab)
    expected_ba = compose(net(b1, a, steps=1).displacement_ab, first.displacement_ba)
    torch.testing.assert_close(both.displacement_ab, expected_ab, rtol=0, atol=1e-3)
    torch.testing.assert_close(both.displacement_ba, expected_ba, rtol=0, atol=1e-3)


def test_gradients_flow_through_two_steps() -> None:
    a, b = pair()
    net = network().train()
    prediction = net(a, b, steps=2)
    first, second = prediction.steps
    (from_second,) = torch.autograd.grad(second.displacement.square().sum(), first.displacement, retain_graph=True)
    assert from_second.abs().max() > 0
    second.displacement.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters() if p.ndim > 1)


def test_any_extent_is_padded_and_cut_back() -> None:
    a, b = torch.rand(1, 3, 13, 9, 21), torch.rand(1, 3, 13, 9, 21)
    assert network()(a, b, steps=1).displacement_ab.shape == (1, 3, 13, 9, 21)


def test_translation_is_registered_back_after_a_short_fit() -> None:
    """An anchored sum cannot move a volume as a whole; the line-mean anchor can."""
    torch.manual_seed(0)
    shape = (24, 24, 24)
    shift = torch.tensor([3.0, -2.0, 1.0]).view(1, 3, 1, 1, 1)
    a = blobs([(8, 10, 12), (15, 12, 9), (12, 16, 15)], 3.5, shape)
    b = warp(a, shift.expand(1, 3, *shape))
    net = MICS(MICSConfig(channels=(8, 16, 16), decoder_normalisation=False))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        prediction = net(a, b, steps=1)
        loss = mse_loss(warp(a, prediction.displacement_ab), b) + mse_loss(warp(b, prediction.displacement_ba), a)
        (loss + 0.01 * (prediction.steps[0].gradients - 1).square().mean()).backward()
        optimiser.step()
    displacement = net(a, b, steps=1).displacement_ab.detach()
    organs = (b.sum(1, keepdim=True) > 0.5).expand_as(displacement)
    found = displacement[organs].view(3, -1).mean(1)
    torch.testing.assert_close(found, shift.flatten(), rtol=0, atol=0.5)
    assert mse_loss(warp(a, displacement), b) < 0.1 * mse_loss(a, b)


@pytest.mark.nightly
def test_one_pair_can_be_overfitted() -> None:
    torch.manual_seed(0)
    shape = (32, 24, 32)
    a = blobs([(10, 10, 12), (20, 12, 20), (14, 16, 24)], 5.0, shape)
    b = blobs([(13, 12, 10), (22, 11, 17), (11, 14, 24)], 6.0, shape)
    net = MICS(MICSConfig(channels=(8, 16, 32), decoder_normalisation=False))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(150):
        optimiser.zero_grad()
        steps = net(a, b, steps=2).steps
        loss = torch.stack([dice_loss(warp(a, step.displacement[0]), b) for step in steps]).sum()
        loss.backward()
        optimiser.step()
    warped = warp((a > 0.5).float(), net(a, b, steps=2).displacement_ab, mode="nearest")
    assert 1 - dice_loss(warped, (b > 0.5).float()) > 0.9


def test_crop_and_full_volume_agree_where_gradients_and_offset_do() -> None:
    from mics.deformation.field import integrate

    shape, part = (20, 16, 24), slice(5, 17)
    torch.manual_seed(0)
    displacement = resize_displacement(torch.randn(1, 3, 4, 4, 4) * 0.3, shape)
    gradients = torch.ones(1, 3, *shape)
    for axis in range(3):
        step = displacement[:, axis].diff(dim=axis + 1)
        gradients[:, axis].narrow(axis + 1, 1, shape[axis] - 1).add_(step)
    cut = (slice(None), slice(None), slice(0, 20), slice(2, 14), part)
    torch.testing.assert_close(integrate(gradients, offset=displacement), displacement, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        integrate(gradients[cut], offset=displacement[cut]), displacement[cut], rtol=0, atol=1e-4
    )


def test_a_network_that_does_not_average_over_mirror_images_says_so() -> None:
    volumes = torch.rand(2, 1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    network = MICS(MICSConfig(channels=(4, 8), decoder_normalisation=False))
    with pytest.raises(InputError, match="MICS does not average over mirror images: give it flip_averaged"):
        network.flip_averaged(*volumes)
