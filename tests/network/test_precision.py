"""Half precision where it pays: what it changes is small, and the constructions hold in it."""

import copy

import pytest
import torch
from torch import nn

from mics.network.mics import MICS, MICSConfig
from mics.network.precision import full_precision, half_precision, half_precision_pays, mend_gradients_of_few_planes
from mics.network.velocity import VelocityConfig, VelocityMICS

TINY = MICSConfig(channels=(8, 16, 16), decoder_normalisation=False)
FORMS = {
    "gradients": TINY,
    "normalised": TINY.model_copy(update={"decoder_normalisation": True}),
    "velocities": VelocityConfig(channels=(8, 16, 16), decoder_normalisation=False, velocity_levels=3),
}


def network(form: str) -> MICS | VelocityMICS:
    """A network that is not trained, but deforms by voxels."""
    torch.manual_seed(0)
    config = FORMS[form]
    net = VelocityMICS(config) if isinstance(config, VelocityConfig) else MICS(config)
    heads = net.velocity_heads if isinstance(net, VelocityMICS) else [net.gradient_head, net.offset_head]
    with torch.no_grad():
        for head in heads:
            head.weight.normal_(std=0.05)
    return net.eval()


def spots(seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(24, 32, 24), mode="trilinear", align_corners=True)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_deformations_differ_by_a_small_part_of_what_they_move(form: str) -> None:
    net, a, b = network(form), spots(1), spots(2)
    exact = net(a, b, steps=2).displacement_ab
    with torch.autocast("cpu", torch.bfloat16):
        half = net(a, b, steps=2).displacement_ab
    assert exact.abs().max() > 0.5
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert (half - exact).norm() < 0.05 * exact.norm()


@torch.no_grad()
def test_velocities_keep_what_features_that_are_nearly_equal_differ_by() -> None:
    """Of those, bfloat16 would leave a tenth of the digits; what comes after the subtraction may be rounded to it."""
    net, a = network("velocities"), spots(1)
    b = a + 0.02 * spots(2)
    exact = net(a, b, steps=1).displacement_ab
    with torch.autocast("cpu", torch.bfloat16):
        half = net(a, b, steps=1).displacement_ab
    assert exact.norm() > 0
    assert not torch.equal(half, exact)
    assert (half - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_identity_and_symmetry_hold_in_it(form: str) -> None:
    net, a, b = network(form), spots(1), spots(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(a, a.clone(), steps=2).displacement_ab.abs().max() < 1e-5
        forth, back = net(a, b, steps=2), net(b, a, steps=2)
    torch.testing.assert_close(forth.displacement_ab, back.displacement_ba, rtol=0, atol=0)


def test_full_precision_is_for_predictions_not_for_training() -> None:
    a = torch.ones(4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision("cpu"):
            assert (a @ a).dtype == torch.bfloat16
        with torch.no_grad(), full_precision("cpu"):
            assert (a @ a).dtype == torch.float32


def test_it_is_used_where_it_pays() -> None:
    assert not half_precision_pays("meta")
    with half_precision("cpu"):
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert (product.dtype == torch.bfloat16) == half_precision_pays("cpu")


@pytest.mark.parametrize(
    ("planes", "kernel", "stride"),
    [(1, 3, 1), (2, 3, 1), (3, 3, 1), (2, 3, 2), (3, 3, 2), (2, 2, 2), (2, 5, 1), (4, 5, 1)],
)
def test_gradients_of_few_planes_are_those_of_double_precision(planes: int, kernel: int, stride: int) -> None:
    padding = 0 if kernel == 2 else kernel // 2
    network = nn.Sequential(nn.Conv3d(16, 16, kernel, stride, padding, bias=False))
    exact = copy.deepcopy(network).double()
    mend_gradients_of_few_planes(network)
    for _ in range(3):  # what nothing was written to differs
        volume = torch.randn(1, 16, planes, 4, 6, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            result = network(volume)
        expected = exact(volume.double())
        assert result.shape == expected.shape
        direction = torch.randn_like(expected)
        found = torch.autograd.grad(result, (volume, network[0].weight), direction.to(result.dtype))
        right = torch.autograd.grad(expected, (volume, exact[0].weight), direction)
        for ours, theirs in zip((result, *found), (expected, *right), strict=True):
            assert (ours - theirs).abs().max() < 0.03 * theirs.abs().max()


def test_mended_convolutions_give_the_same_and_keep_their_names() -> None:
    plain = nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 1, 3, padding=1, padding_mode="replicate"))
    mended = copy.deepcopy(plain)
    mend_gradients_of_few_planes(mended)
    assert list(mended.state_dict()) == list(plain.state_dict())
    volume = torch.rand(1, 2, 2, 4, 4)
    torch.testing.assert_close(mended(volume), plain(volume))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mended(volume), plain(volume), atol=0.02, rtol=0.02)
