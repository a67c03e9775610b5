"""Where the networks run."""

import re

import torch

from mics.errors import SettingError, require_type


def choose_device(given: str | torch.device) -> torch.device:
    """The device called ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``, or one of torch's.

    Raises InputError for another one and for a GPU that is not there.
    """
    require_type(given, (str, torch.device), "A device is auto, cpu, cuda:N or a torch.device")
    name = str(given)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name == "auto":
        return torch.device("cuda:0")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if not match:
        raise SettingError(f"There is no device called {name!r}: give auto, cpu or cuda:N.")
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        available = "no GPU that PyTorch can use" if count == 0 else f"only {count} GPU(s), counted from cuda:0"
        raise SettingError(
            f"The device {name} was asked for, but this machine has {available}: use `device=cpu`.", option="device"
        )
    return torch.device("cuda", index)
