"""Recomputed activations, and features joined slab by slab: the same numbers from less memory."""

import pytest
import torch
from torch import Tensor, nn

from mics.network import blocks
from mics.network.blocks import ConvBlock, Decoder, Encoder, recompute_activations


class Both(nn.Module):
    """A U-Net of three levels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(2, (4, 8, 16))
        self.decoder = Decoder((4, 8, 16))

    def forward(self, volume: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(volume))[0]
        return decoded


def test_recomputing_gives_the_same_gradients_and_keeps_less() -> None:
    torch.manual_seed(0)
    network, volume = Both(), torch.rand(1, 2, 16, 16, 16)
    gradients, kept = [], []
    for recompute in (False, True):
        recompute_activations(network, recompute)
        network.zero_grad()
        held: dict[int, int] = {}

        def note(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            held[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = network(volume).square().sum()
        kept.append(sum(held.values()))
        result.backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(network.parameters()))
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)
    assert kept[1] < 0.6 * kept[0]


@torch.no_grad()
def test_inference_gives_each_volume_what_it_gets_alone() -> None:
    torch.manual_seed(0)
    network, volumes = Both(), torch.rand(3, 2, 16, 16, 16)
    alone = torch.cat([network(volume) for volume in volumes.split(1)])
    torch.testing.assert_close(network(volumes), alone, rtol=0, atol=0)
    with torch.enable_grad():
        torch.testing.assert_close(network(volumes), alone, rtol=1e-3, atol=1e-4)  # other kernels round otherwise


@pytest.mark.parametrize("rows", [2, 4, 6])
@torch.no_grad()
def test_features_joined_in_slabs_are_those_joined_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    decoder = Decoder((4, 8))
    fine, deep = torch.randn(1, 4, 16, 10, 12), torch.randn(1, 8, 8, 5, 6)
    whole = decoder([fine, deep])[0]
    up, (first, second) = decoder.up[0], decoder.merge[0]
    torch.testing.assert_close(whole, second(first(torch.cat([up(deep), fine], dim=1))), rtol=1e-4, atol=1e-5)
    extents: list[int] = []
    first[0].register_forward_pre_hook(lambda module, inputs: extents.append(inputs[0].shape[2]))
    monkeypatch.setattr(blocks, "_CHUNK", rows * 2 * fine[:, :, 0].numel())
    torch.testing.assert_close(decoder([fine, deep])[0], whole, rtol=1e-4, atol=1e-5)
    assert max(extents) <= rows + 4
    assert len(extents) == -(-16 // rows)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3, 4), (3, 2, 2), (4, 4, 4)])
def test_gradients_in_half_precision_are_those_of_float32_on_few_voxels(shape: tuple[int, int, int]) -> None:
    """oneDNN's for two voxels along the first axis hold what the memory held before, which is filled here."""
    torch.manual_seed(0)
    block = ConvBlock(16, 16, normalise=False).to(memory_format=torch.channels_last_3d)
    volume = torch.randn(2, 16, *shape).to(memory_format=torch.channels_last_3d)

    def slope(half: bool) -> torch.Tensor:
        block.zero_grad()
        held = [torch.full_like(block.convolution.weight, 1e30) for _ in range(4)]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = block.convolution(volume).float().sum()
        del held
        result.backward()
        return block.convolution.weight.grad.clone()

    exact = slope(False)
    for _ in range(3):
        assert (slope(True) - exact).abs().max() < 0.02 * exact.abs().max()
