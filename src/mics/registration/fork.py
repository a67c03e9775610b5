"""A process forked from one that has registered: torch's threads stay behind, and whoever waits for them waits for ever."""

import os

import torch

from mics.errors import RunError

_registered_in: int | None = None
"""The process that called :func:`refuse_forked` last, inherited by its forks."""


def refuse_forked() -> None:
    """Note that this process registers; raises InputError in one that was forked from such a process.

    With one thread torch waits for no other, so that a fork that has called ``torch.set_num_threads(1)`` is let through.
    """
    global _registered_in
    if _registered_in not in (None, os.getpid()) and torch.get_num_threads() > 1:
        raise RunError(
            "This process was forked from one that has registered before, where torch's threads would hang: start workers "
            "by multiprocessing.get_context('spawn'), or call torch.set_num_threads(1) in them."
        )
    _registered_in = os.getpid()
