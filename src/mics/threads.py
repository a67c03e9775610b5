"""Work done side by side by threads that compute with one thread each."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of ``work`` for each of ``items``, in their order, as many at a time as torch has threads.

    Within ``work`` torch has one thread: with more, they would wait for one another, and sums would be rounded otherwise for
    another number of cores.
    """
    items, threads = list(items), torch.get_num_threads()
    workers = min(threads, len(items))
    if workers <= 1:
        return [work(item) for item in items]
    ready = Barrier(workers + 1)

    def begin(_: int) -> None:
        torch.get_num_threads()  # a thread takes the process's number when it first asks, and not again
        torch.set_num_threads(1)
        ready.wait()

    with ThreadPoolExecutor(workers) as pool:
        begun = pool.map(begin, range(workers))
        ready.wait()
        # Threads that others start take the number that was set last.
        torch.set_num_threads(threads)
        list(begun)
        return list(pool.map(work, items))
