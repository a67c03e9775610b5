"""A command in a process of its own that does not outlive this one."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_POLL_SECONDS = 1.0


def run_alone(command: Sequence[str], log: Path) -> None:
    """Run ``command`` to its end, whatever that is, with what it says in ``log``.

    It and the processes that it starts are killed where this one is interrupted (Ctrl-C, SIGTERM).
    """
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        process.wait()
    finally:
        if process.poll() is None:
            _kill_group(process)


def end_with(parent: int) -> None:
    """From now on, kill this process and those that it starts once ``parent``, which began it by :func:`run_alone`, is gone."""
    if hasattr(os, "killpg"):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
