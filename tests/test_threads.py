"""Work side by side: in order, with one torch thread each, and torch as it was afterwards."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from mics.threads import side_by_side


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads, count):
    threads(count)
    assert side_by_side(lambda item: item**2, range(20)) == [item**2 for item in range(20)]


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_work_at_a_time_as_torch_has_threads(threads, count):
    threads(count)
    all_there = threading.Barrier(count)
    # Fewer would wait for the others until the barrier breaks.
    side_by_side(lambda item: all_there.wait(20), range(count))
    names = set(side_by_side(lambda item: threading.current_thread().name, range(50)))
    assert len(names) <= count


def test_within_the_work_torch_has_one_thread(threads):
    threads(3)
    assert side_by_side(lambda item: torch.get_num_threads(), range(6)) == [1] * 6
    assert side_by_side(lambda item: torch.get_num_threads(), range(2)) == [1] * 2


def test_afterwards_torch_has_as_many_as_before_also_in_new_threads(threads):
    threads(3)
    side_by_side(lambda item: item, range(6))
    found = []
    new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert (torch.get_num_threads(), found) == (3, [3])


def test_a_thread_that_begins_meanwhile_has_as_many_as_the_process(threads):
    threads(3)
    found, at_work, over = [], threading.Event(), threading.Event()

    def other():
        at_work.wait(20)
        found.append(torch.get_num_threads())
        over.set()

    new = threading.Thread(target=other)
    new.start()
    side_by_side(lambda item: (at_work.set(), over.wait(20)), range(3))
    new.join()
    assert found == [3]


def test_an_error_in_the_work_comes_out_and_leaves_torch_as_it_was(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda item: 1 // item, [1, 0])
    assert torch.get_num_threads() == 2


def test_sums_are_rounded_alike_for_any_number_of_threads(threads):
    values = [torch.rand(300_000, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    found = []
    for count in (1, 2, 4):
        threads(count)
        found.append([float(total) for total in side_by_side(torch.sum, values)])
    assert found[0] == found[1] == found[2]
