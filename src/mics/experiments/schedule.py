"""Which cell runs when and where: one after the other here, or spread over devices by Dask."""

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from mics.data.workers import unchanged_environment
from mics.errors import SettingError
from mics.experiments.cells import Cell, needs
from mics.experiments.study import Study
from mics.registration.device import choose_device

Progress = Callable[[str], None]


def run_cells(cells: Sequence[Cell], study: Study, devices: Sequence[str], progress: Progress) -> None:
    """Run the cells that are not done; with two or more ``devices`` (``cpu``, ``cuda:N``) a worker process each.

    Raises whatever a cell raises; cells that are done stay.
    """
    waiting = [cell for cell in cells if not cell.done(study)]
    if len(devices) > 1:
        _spread(waiting, study, devices, progress)
        return
    for number, cell in enumerate(waiting, start=1):
        progress(f"{number} of {len(waiting)}: {cell.name}")
        cell.run(study)


def require_devices(devices: Sequence[str]) -> None:
    """Raise InputError for what is no device here, and where Dask, which spreads the work over several, is missing."""
    for device in devices:
        _environment(device)
        choose_device(device)
    if len(devices) > 1 and find_spec("distributed") is None:
        raise SettingError("Several devices need Dask: install mics-registration[cluster].")


def _spread(cells: list[Cell], study: Study, devices: Sequence[str], progress: Progress) -> None:
    from distributed import Client, Nanny, Scheduler, SpecCluster, as_completed

    # On this machine alone, and without Dask's limit on memory, which would kill a training.
    host = {"host": "127.0.0.1"}
    workers = {
        str(number): {
            "cls": Nanny,
            "options": {**host, "nthreads": 1, "memory_limit": None, "env": _environment(device)},
        }
        for number, device in enumerate(devices)
    }
    scheduler = {"cls": Scheduler, "options": {**host, "dashboard": False}}
    with (
        unchanged_environment(),
        SpecCluster(workers, scheduler=scheduler, silence_logs=logging.ERROR) as cluster,
        Client(cluster) as client,
    ):
        futures: dict[Cell, Any] = {}
        for cell in cells:
            before = [futures[need] for need in needs(cell) if need in futures]
            futures[cell] = client.submit(_run, cell, study, before, key=cell.name)
        for number, future in enumerate(as_completed(futures.values()), start=1):
            future.result()
            progress(f"{number} of {len(cells)} done: {future.key}")


def _run(cell: Cell, study: Study, before: list[None]) -> None:
    cell.run(study)


def _environment(device: str) -> dict[str, str]:
    """What shows a worker process its device and no other."""
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return {"CUDA_VISIBLE_DEVICES": ""}
    if kind == "cuda" and number.isdigit():
        return {"CUDA_VISIBLE_DEVICES": number}
    raise SettingError(f"There is no device {device!r}; give cpu or cuda:N, with commas between them.")
