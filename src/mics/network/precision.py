"""Where half precision pays: on devices with matrix units for it."""

import torch


def has_matrix_units(device: torch.device | str) -> bool:
    """Whether ``device`` multiplies matrices in bfloat16 faster than in float32: recent GPUs, CPUs with AMX.

    Other CPUs take longer in bfloat16, even those with instructions for it (docs/training.md).
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False  # older versions of torch do not tell, and float32 is right everywhere
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def half_precision(device: torch.device | str) -> torch.autocast:
    """A context in which a network's convolutions run in bfloat16, where that pays; geometry stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_matrix_units(device))
