"""Stopping a run without losing work: Ctrl-C, and a disk that is full."""

import errno
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning

from mics.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StopRequested(Exception):
    """The run was asked to stop, and its checkpoint is written."""


class StopOnInterrupt(lightning.Callback):
    """Ctrl-C ends the run after the iteration that it meets, with a checkpoint at ``path``; pressed again, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C meanwhile; raises KeyboardInterrupt afterwards if it was pressed."""
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, self._request) if main else None
        try:
            yield
        except StopRequested:
            raise KeyboardInterrupt from None
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Between two iterations weights and progress agree, and all devices stop after the same one."""
        if trainer.strategy.reduce_boolean_decision(self.requested, all=False):
            trainer.save_checkpoint(self.path)
            raise StopRequested

    def _request(self, *_: Any) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print(f"Stopping after this iteration; go on by --resume {self.path.parent}.", file=sys.stderr, flush=True)


@contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """Raises InputError where what runs meanwhile finds no room to write."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise InputError(
            f"The run has stopped because {folder} takes no more data ({error.strerror}); its last whole checkpoint is kept: "
            f"make room and go on by --resume {folder}."
        ) from error
