"""The pretended device of `pretended_device.py` itself: what it refuses and allows is what CUDA refuses and allows."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

MIXED = {
    "sum": lambda here, cpu: here + cpu,
    "product with a number of the device": lambda here, cpu: cpu * here.sum(),
    "in place": lambda here, cpu: here.add_(cpu),
    "in place, a number": lambda here, cpu: cpu.sum().add_(here.sum()),
    "where": lambda here, cpu: torch.where(here > 0, here, cpu),
    "matrices": lambda here, cpu: here[0, 0, 0] @ cpu[0, 0, 0],
    "cat": lambda here, cpu: torch.cat([here, cpu]),
    "stacked numbers": lambda here, cpu: torch.stack([here.sum(), cpu.sum()]),
    "sampling": lambda here, cpu: functional.grid_sample(here, torch.zeros(1, 4, 4, 4, 3), align_corners=True),
    "convolution": lambda here, cpu: functional.conv3d(here, torch.ones(1, 2, 3, 3, 3)),
    "mask of the CPU's": lambda here, cpu: here.masked_fill(cpu > 0, 1.0),
    "index_select": lambda here, cpu: here.index_select(2, torch.tensor([0])),
    "gather": lambda here, cpu: here.gather(0, torch.zeros(1, 2, 4, 4, 4, dtype=torch.long)),
    "index of the device's": lambda here, cpu: cpu[here > 0],
    "values of the CPU's": lambda here, cpu: here.__setitem__(here > 9, torch.ones(3)),
    "equal": lambda here, cpu: torch.equal(here, cpu),
    "solve": lambda here, cpu: torch.linalg.solve(here[0, 0, 0], cpu[0, 0, 0]),
}

ALLOWED = {
    "a number of the CPU's": lambda here, cpu: here * torch.tensor(2.0) + 1,
    "a number of the CPU's in place": lambda here, cpu: here.mul_(torch.tensor(2.0)),
    "where, a number": lambda here, cpu: torch.where(here > 0, here, torch.tensor(0.5)),
    "index of the CPU's": lambda here, cpu: here[:, torch.tensor([1, 0])],
    "mask of the CPU's as index": lambda here, cpu: here[cpu > 0.5],
    "list": lambda here, cpu: here[:, [1]],
    "copied in": lambda here, cpu: torch.zeros_like(here).copy_(cpu),
    "assigned to a part": lambda here, cpu: here[:, :1].copy_(cpu[:, 1:]),
    "one number set": lambda here, cpu: here.index_put_((torch.tensor([0]),), torch.tensor(3.0)),
}


@pytest.fixture
def both(pretended_device: torch.device) -> tuple[Tensor, Tensor]:
    """One volume (1, 2, 4, 4, 4), on the device and on the CPU."""
    cpu = torch.rand(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return cpu.to(pretended_device), cpu


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_devices_is_refused(name: str, both: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(RuntimeError, match=r"same device|cpu"):
        MIXED[name](*both)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_is_allowed_and_done_as_on_the_cpu(name: str, both: tuple[Tensor, Tensor]) -> None:
    here, cpu = both
    expected = ALLOWED[name](cpu.clone(), cpu)
    got = ALLOWED[name](here, cpu)
    assert got.device.type == "pretended"
    assert torch.equal(got.cpu(), expected)


def test_numpy_is_not_given_what_lies_on_the_device(both: tuple[Tensor, Tensor]) -> None:
    here, cpu = both
    for convert in (Tensor.numpy, np.asarray):
        with pytest.raises(TypeError, match="can't convert"):
            (here.numpy if convert is Tensor.numpy else lambda: np.asarray(here))()
    np.testing.assert_array_equal(here.cpu().numpy(), cpu.numpy())
    assert here.tolist() == cpu.tolist()
    assert float(here[0, 0, 0, 0, 0]) == float(cpu[0, 0, 0, 0, 0])


def test_what_numpy_holds_has_to_be_brought_over(both: tuple[Tensor, Tensor]) -> None:
    here, _ = both
    order = np.array([1, 0])
    with pytest.raises(RuntimeError, match="same device"):
        here.index_select(1, torch.from_numpy(order))
    brought = torch.from_numpy(order).to(here.device)
    assert torch.equal(here.index_select(1, brought).cpu(), here.flip(1).cpu())


def test_a_generator_of_the_cpus_is_refused(pretended_device: torch.device) -> None:
    with pytest.raises(RuntimeError, match="Expected a 'pretended' device type for generator"):
        torch.rand(3, generator=torch.Generator(), device=pretended_device)


@pytest.mark.parametrize(
    "make",
    [
        lambda device: torch.zeros(3, device=device),
        lambda device: torch.arange(3, device=device),
        lambda device: torch.tensor([1.0, 2.0], device=device),
        lambda device: torch.as_tensor(np.ones(2), device=device),
        lambda device: torch.ones(2).to(device).new_full((3,), 2.0),
    ],
)
def test_what_is_made_there_lies_there(make: Callable[[torch.device], Tensor], pretended_device: torch.device) -> None:
    assert make(pretended_device).device == pretended_device
    with pytest.raises(RuntimeError, match="same device"):
        make(pretended_device) + torch.ones(1)


def test_gradients_lie_where_their_tensors_do_and_are_the_cpus(both: tuple[Tensor, Tensor]) -> None:
    here, cpu = (volume.clone().requires_grad_() for volume in both)
    start = torch.full((), 2.0, requires_grad=True)
    for volume in (here, cpu):
        (functional.avg_pool3d(volume, 2).square() * start.to(volume.device)).sum().backward()
    assert here.grad is not None
    assert here.grad.device == here.device
    assert torch.equal(here.grad.cpu(), cpu.grad)
    assert start.grad is not None
    assert start.grad.device.type == "cpu"


def test_autocast_has_the_rules_of_cuda(both: tuple[Tensor, Tensor]) -> None:
    here, _ = both
    kernel = torch.ones(1, 2, 3, 3, 3).to(here.device)
    with torch.autocast("pretended", torch.bfloat16):
        convolved = functional.conv3d(here, kernel)
        assert convolved.dtype == torch.bfloat16
        assert convolved.softmax(1).dtype == torch.float32
        with pytest.raises(RuntimeError, match="type"):
            torch.lerp(convolved, convolved.float(), 0.5)
        with torch.autocast("pretended", enabled=False):
            assert functional.conv3d(here, kernel).dtype == torch.float32
    assert functional.conv3d(here, kernel).dtype == torch.float32


def test_a_tensor_resized_in_place_is_an_error_and_not_a_wrong_shape(both: tuple[Tensor, Tensor]) -> None:
    here, _ = both
    with pytest.raises(RuntimeError, match="resized a tensor in place"):
        torch.add(here, here, out=torch.empty(0).to(here.device))
