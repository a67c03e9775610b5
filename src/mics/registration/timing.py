"""The stages of a run: what is reported while they run, and what they cost."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from mics.errors import SettingError, shown
from mics.image.available import resident_peak_gb

_logger = logging.getLogger("mics.registration")


class Timing:
    """Times named stages; ``progress`` is called with each name as it starts. Raises InputError if that is no function.

    ``before``: seconds of stages that went before, by their keys.
    """

    def __init__(self, progress: Callable[[str], None] | None, before: Mapping[str, float] | None = None) -> None:
        if progress is not None and not callable(progress):
            raise SettingError(f"progress is a function of one text, not {shown(progress)}.")
        self.seconds: dict[str, float] = dict(before or {})
        self._progress = progress
        self._began = time.perf_counter() - sum(self.seconds.values())

    @contextmanager
    def __call__(self, key: str, message: str) -> Iterator[None]:
        """Run a stage: ``key`` names it in the summary, ``message`` to the user who waits."""
        if self._progress is not None:
            self._progress(message)
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self.seconds[key] = self.seconds.get(key, 0.0) + took
        _logger.info("%s: %.1f s", message, took)

    def times(self) -> dict[str, float]:
        """Seconds of every stage so far and in total, to hundredths."""
        seconds = {**self.seconds, "total": time.perf_counter() - self._began}
        return {name: round(value, 2) for name, value in seconds.items()}


def peak_memory_gb(device: torch.device) -> dict[str, float | None]:
    """Largest memory in GB that the process has held since it began, and on the GPU; None where it is not known."""
    gpu = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    peak = resident_peak_gb()
    return {"process": None if peak is None else round(peak, 2), "gpu": None if gpu is None else round(gpu, 2)}
