"""Normalisation and activation in one, against the framework's two layers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mics.network.normalisation import normalise_and_activate

SLOPE = 0.1


def two_layers(features: Tensor) -> Tensor:
    return functional.leaky_relu(functional.instance_norm(features), SLOPE)


def features(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (2, 3, 5, 6, 7)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64).view(1, 3, 1, 1, 1)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * scale + 2 * scale
    return drawn.to(dtype).requires_grad_(True)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last_3d])
def test_it_is_instance_normalisation_and_leaky_relu(form: torch.memory_format) -> None:
    ours, theirs = features(), features()
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result, expected = normalise_and_activate(ours.contiguous(memory_format=form), SLOPE), two_layers(theirs)
    assert result.is_contiguous(memory_format=form)
    torch.testing.assert_close(result, expected)
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)  # the means are float32


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("mean", [3.0, 100.0])
def test_sums_over_a_large_volume_lose_no_digits(form: torch.memory_format, mean: float) -> None:
    exact = torch.randn(2, 8, 64, 64, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + mean
    volume = exact.float().contiguous(memory_format=form)
    torch.testing.assert_close(
        normalise_and_activate(volume, SLOPE).double(), two_layers(volume.double()), rtol=1e-4, atol=1e-4
    )


def test_a_channel_that_is_the_same_everywhere_becomes_nothing() -> None:
    same = torch.full((1, 2, 8, 8, 8), 7.3).contiguous(memory_format=torch.channels_last_3d)
    assert normalise_and_activate(same, SLOPE).abs().max() < 1e-3


def test_its_gradient_is_that_of_finite_differences() -> None:
    volume = features(shape=(1, 3, 2, 3, 2))
    assert torch.autograd.gradcheck(lambda v: normalise_and_activate(v, SLOPE), (volume,), eps=1e-6, atol=1e-5)


def test_in_half_precision_it_is_as_near_as_its_digits_allow() -> None:
    ours, theirs = features(torch.bfloat16, (2, 3, 16, 16, 16)), features(torch.bfloat16, (2, 3, 16, 16, 16))
    exact = theirs.detach().float().requires_grad_(True)
    weight = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    result, expected = normalise_and_activate(ours, SLOPE), two_layers(exact)
    torch.testing.assert_close(result.float(), expected, rtol=2e-2, atol=2e-2)
    result.backward(weight.bfloat16())
    expected.backward(weight)
    assert ours.grad is not None
    assert exact.grad is not None
    for channel in range(3):
        difference = (ours.grad[:, channel].float() - exact.grad[:, channel]).norm() / exact.grad[:, channel].norm()
        assert difference < 0.02


def test_only_the_result_is_kept() -> None:
    volume, kept = features(torch.float32), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        normalise_and_activate(volume, SLOPE)
    assert sum(kept) < 1.1 * volume.numel()


def test_of_a_batch_of_none_there_is_nothing() -> None:
    volume = features().detach()[:0].requires_grad_()
    result = normalise_and_activate(volume, SLOPE)
    result.sum().backward()
    assert result.shape == volume.grad.shape == (0, 3, 5, 6, 7)


def test_it_can_be_exported() -> None:
    class Module(torch.nn.Module):
        def forward(self, volume: Tensor) -> Tensor:
            return normalise_and_activate(volume, SLOPE)

    volume = features(torch.float32).detach().contiguous(memory_format=torch.channels_last_3d)
    exported = torch.export.export(Module(), (volume,)).module()
    torch.testing.assert_close(exported(volume), two_layers(volume), rtol=1e-4, atol=1e-4)
