"""Work done side by side by threads that compute with one thread each."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of ``work`` for each of ``items``, in their order, as many at a time as torch has threads.

    Within ``work`` torch has one thread: with more, they would wait for one another, and sums would be rounded otherwise for
    another number of cores.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            return list(pool.map(work, items))
        finally:
            # Threads that others start meanwhile take the number that was set last.
            torch.set_num_threads(threads)
