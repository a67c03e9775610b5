"""Where half precision pays: on devices that multiply in it faster than in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional


def half_precision_pays(device: torch.device | str) -> bool:
    """Whether a device multiplies matrices in bfloat16 faster than in float32: recent GPUs, CPUs with AMX, AMD's with AVX-512.

    Other CPUs take longer in bfloat16, even those with instructions for it (docs/training.md).

    Args:
        device: A device of torch, or its name.

    Returns:
        Whether it pays.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False  # older versions of torch do not tell, and float32 is right everywhere
    can = torch.cpu.get_capabilities()
    made_by_amd = can.get("sse4a")  # no other maker has these instructions
    return bool(can.get("amx_bf16") or (made_by_amd and can.get("avx512_bf16")))


def half_precision(device: torch.device | str) -> torch.autocast:
    """A context in which a network's convolutions run in bfloat16, where that pays; geometry stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half_precision_pays(device))


def full_precision(device: torch.device | str) -> AbstractContextManager[object]:
    """A context in which nothing is rounded to bfloat16, whatever is around it; while gradients are taken, no change.

    For what a prediction subtracts: of two features that are nearly equal, most of the digits that bfloat16 keeps cancel.
    Training averages over such errors, and is faster with them.
    """
    return nullcontext() if torch.is_grad_enabled() else torch.autocast(torch.device(device).type, enabled=False)


class _OfFewPlanes(nn.Conv3d):
    """A convolution that appends planes of zeros where a volume has fewer than the kernel, and leaves their results out."""

    def forward(self, volume: Tensor) -> Tensor:
        planes, kernel = volume.shape[2], self.kernel_size[0]
        half = volume.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not half or not torch.is_grad_enabled() or planes >= kernel:
            return super().forward(volume)
        result = (planes + 2 * int(self.padding[0]) - kernel) // self.stride[0] + 1
        return super().forward(functional.pad(volume, (0, 0, 0, 0, 0, kernel - planes)))[:, :, :result]


def mend_gradients_of_few_planes(network: nn.Module) -> None:
    """Let a network in training see no volume in bfloat16 on a CPU that has fewer planes along its first axis than a kernel.

    Of such, oneDNN computes the weights' gradients from memory that nothing was written to, and may write where it must not
    (jit_bf16:avx512_core_bf16 backward, as of torch 2.13). Zeros are what lies beyond the volume anyway.

    Args:
        network: Whose :class:`torch.nn.Conv3d` are changed in place; results and names of weights stay.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d and module.padding_mode == "zeros" and module.dilation[0] == 1:
            module.__class__ = _OfFewPlanes
