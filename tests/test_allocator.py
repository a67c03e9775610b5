"""Freed memory stays with the process."""

import platform
import resource
import subprocess
import sys

import pytest
import torch

from mics.data.workers import each

STEPS_BEFORE = 36
"""As many as may need new memory. glibc cuts an aligned block out of a larger one and frees both ends; the first seven of a size
it lays aside for the thread (tcache), so the freed block stays too small for the next of its kind. The ends are of five sizes."""

FAULTS = """
import resource, sys, torch
from concurrent.futures import ThreadPoolExecutor
from mics.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    kept = [torch.ones(n) for n in (20_000_000, 10_000_000, 20_000_000)]
def faults():
    for _ in range(int(sys.argv[3])):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults() if sys.argv[2] == "main" else ThreadPoolExecutor(1).submit(faults).result())
"""


@pytest.mark.nightly
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("thread", ["main", "other"])
def test_large_tensors_are_made_in_memory_that_the_process_has(thread: str) -> None:
    def counted(how: str, steps_before: int) -> int:
        command = [sys.executable, "-c", FAULTS, how, thread, str(steps_before)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    faults = {"kept": counted("kept", STEPS_BEFORE), "usual": counted("usual", 5)}
    # Five times 200 MB; the kernel maps pages of 4 kB, or of 2 MB where huge pages are on for all.
    assert faults["usual"] >= 5 * 90
    # Not none at all: Python and torch take pages for other things too.
    assert faults["kept"] < faults["usual"] / 4


@pytest.mark.nightly
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_so_are_those_of_workers() -> None:
    pytest.importorskip("distributed", reason="several workers need the cluster extra")
    faults = dict(each(_faults, ["first", "second"], workers=2, failed=_raised))
    assert faults.keys() == {"first", "second"}
    # Five times 200 MB are 250,000 pages, each of which the usual worker pays for.
    assert max(faults.values()) < 250_000 / 4


def _faults(item: str) -> tuple[str, int]:
    for _ in range(STEPS_BEFORE):
        _step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        _step()
    return item, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _step() -> None:
    _ = [torch.ones(length) for length in (20_000_000, 10_000_000, 20_000_000)]


def _raised(item: str, error: Exception) -> tuple[str, int]:
    raise error
