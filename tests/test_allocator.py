"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from mics.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    kept = [torch.ones(n) for n in (20_000_000, 10_000_000, 20_000_000)]
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_tensors_are_made_in_memory_that_the_process_has() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "usual")
    }
    # Five times 200 MB; the kernel maps pages of 4 kB, or of 2 MB where huge pages are on for all.
    assert faults["usual"] >= 5 * 90
    # Not none: blocks in an unlucky order leave gaps that the next do not fit into.
    assert faults["kept"] < faults["usual"] / 4
