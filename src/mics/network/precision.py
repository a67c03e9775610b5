"""Where half precision pays: on devices that multiply in it faster than in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch


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
