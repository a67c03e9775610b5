"""What a waiting user sees: the step that is running and how long each one took."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from mics.cli.manners import asked

_log = logging.getLogger(__name__)
_registration = logging.getLogger("mics.registration")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each step as it starts; finished ones are listed on stderr, unless quiet.

    With ``--verbose`` the log tells each as it starts, with the time of day, in place of that list and of what a registration
    logs as a step ends.
    """
    console = Console(stderr=True, highlight=False, quiet=asked().quiet or asked().verbose)
    running, since = "", time.monotonic()

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(f"{running}: ")

    _registration.addFilter(is_news)
    try:
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
    finally:
        _registration.removeFilter(is_news)
