"""Checkpoints: written whole or not at all, and read without running code that they may hold."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from mics.errors import InputError, MissingFileError
from mics.files.whole import write_whole

_EXPECTED = {"state_dict", "hyper_parameters", "epoch", "callbacks", "loops", "optimizer_states"}


class WholeCheckpoints(TorchCheckpointIO):
    """How Lightning reads and writes checkpoints; its own way passes through the temporary folder, and a copy can be cut."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint beside its name, then give it the name."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_whole(path, lambda temporary: temporary.write_bytes(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint, see :func:`read_checkpoint`."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU: tensors and plain values alone. :class:`InputError` for one that is damaged or holds more."""
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise MissingFileError(
            f"The checkpoint {path} cannot be read ({error.strerror}); start the run anew."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} is damaged or no checkpoint of a training: start the run anew in another folder."
        ) from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _EXPECTED:
        raise InputError(f"{path} is no checkpoint of a training: start the run anew in another folder.")
    return checkpoint
