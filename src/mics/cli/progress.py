"""What a waiting user sees: the step that is running and how long each one took."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from mics.cli.manners import asked

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each step as it starts; finished ones are listed on stderr, unless quiet."""
    console = Console(stderr=True, highlight=False, quiet=asked().quiet)
    running, since = "", time.monotonic()

    with console.status("") as status:

        def step(name: str) -> None:
            nonlocal running, since
            if running:
                console.print(f"[dim]{time.monotonic() - since:6.1f} s[/dim]  {running}")
            if name:
                _log.info("%s", name)
            running, since = name, time.monotonic()
            status.update(name)

        yield step
        step("")
