"""One function for each of many items: in this process, on a local cluster, or on a cluster that is already there."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from mics.allocator import FOR_CHILDREN
from mics.errors import RunError, SettingError

_LARGE_SCAN_BYTES = 4e9
"""What a worker may need for a scan from the neck to the knees."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    threads: int = 1,
    scheduler: str | None = None,
    failed: Callable[[Item, Exception], Result],
    stop: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """The results as they come; where ``function`` raises, or its process dies, what ``failed`` makes of it.

    ``workers`` processes of this machine (1: this one), ``threads`` items at a time in each, or those of the Dask scheduler at
    an address, with its own threads. ``stop`` is called where the work ends early, before the items that other threads
    of this process are at are waited for. Function and items
    are sent to them, so both must be such as can be pickled, and files must be where the workers see them too. Raises
    :class:`InputError` where Dask is wanted and not installed, or nothing answers at the address.
    """
    if workers == 1 and scheduler is None and threads > 1:
        yield from _in_threads(function, items, threads, failed, stop)
        return
    if (workers == 1 and scheduler is None) or not items:
        for item in items:
            try:
                result = function(item)
            except Exception as error:
                result = failed(item, error)
            yield result
        return
    require_scheduler(workers, scheduler)
    with _client(min(workers, len(items)), threads, scheduler) as client:
        from distributed import as_completed

        places = {client.submit(function, item, pure=False): item for item in items}
        for future in as_completed(list(places)):
            problem = future.exception()
            yield future.result() if problem is None else failed(places[future], problem)
            future.release()


def _in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int,
    failed: Callable[[Item, Exception], Result],
    stop: Callable[[], object],
) -> Iterator[Result]:
    with ThreadPoolExecutor(threads) as pool:
        try:
            places = {pool.submit(function, item): item for item in items}
            for future in futures.as_completed(places):
                problem = future.exception()
                if problem is not None and not isinstance(problem, Exception):
                    raise problem
                yield future.result() if problem is None else failed(places.pop(future), problem)
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def default_workers() -> int:
    """As many processes as this one may use cores, and as there is memory for; 1 where Dask is not installed."""
    try:
        from distributed.system import MEMORY_LIMIT
    except ModuleNotFoundError:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(MEMORY_LIMIT / _LARGE_SCAN_BYTES)))


@contextmanager
def unchanged_environment() -> Iterator[None]:
    """This process's environment variables afterwards as before: a local cluster leaves its workers' single thread in them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def require_scheduler(workers: int, scheduler: str | None) -> None:
    """Raise :class:`InputError` where Dask is wanted and not installed, or no scheduler answers at the address."""
    if workers == 1 and scheduler is None:
        return
    if find_spec("distributed") is None:
        raise SettingError(
            "Several workers need Dask: install mics-registration[cluster], or use `workers=1`.", option="workers"
        )
    if scheduler is not None:
        _connected(scheduler).close()


def _connected(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise RunError(
            f"No Dask scheduler answers at {scheduler}: start one, or leave `scheduler` out.", option="scheduler"
        ) from error


@contextmanager
def _client(workers: int, threads: int, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with _connected(scheduler) as client:
            yield client
        return
    name = "distributed.nanny.pre-spawn-environ"
    with (
        unchanged_environment(),
        # Dask's own variables among them make workers give freed memory back at once.
        dask.config.set({name: {**dask.config.get(name), **FOR_CHILDREN}}),
        LocalCluster(
            n_workers=workers, threads_per_worker=threads, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
