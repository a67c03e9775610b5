"""Stopping a run without losing work: Ctrl-C, SIGTERM, and a disk that is full."""

import errno
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning

from mics.errors import InputError, RunError, Terminated

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StopRequested(Exception):
    """The run was asked to stop, and its checkpoint is written."""


class StopOnInterrupt(lightning.Callback):
    """Ctrl-C and SIGTERM end the run after the iteration that they meet, with a checkpoint at ``path``; a second one, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requested: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take both signals meanwhile; raises KeyboardInterrupt or Terminated afterwards if the run was ended by one."""
        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM) if main}
        try:
            yield
        except (StopRequested, SystemExit):  # Lightning too leaves on SIGTERM, without an exit code
            if self.requested is None:
                raise
            raise Terminated if self.requested == signal.SIGTERM else KeyboardInterrupt from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Between two iterations weights and progress agree, and all devices stop after the same one."""
        if trainer.strategy.reduce_boolean_decision(self.requested is not None, all=False):
            trainer.save_checkpoint(self.path)
            raise StopRequested

    def _request(self, number: int, *_: Any) -> None:
        self.requested = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        print(
            f"Stopping after this iteration; go on later by resuming {self.path.parent}.", file=sys.stderr, flush=True
        )


@contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """Raises InputError where what runs meanwhile finds no room to write."""
    try:
        yield
    except (OSError, InputError) as error:
        system = error.__cause__ if isinstance(error, InputError) else error
        if not isinstance(system, OSError) or system.errno not in _NO_ROOM:
            raise
        raise RunError(
            f"The run has stopped because {folder} takes no more data ({system.strerror}); its last whole checkpoint is kept: "
            f"make room and go on by `resume {folder}`."
        ) from error
