"""What a waiting user sees: the step that is running and how long each one took."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each step as it starts; finished ones are listed on stderr."""
    console = Console(stderr=True, highlight=False)
    running, since = "", time.monotonic()

    with console.status("") as status:

        def step(name: str) -> None:
            nonlocal running, since
            if running:
                console.print(f"[dim]{time.monotonic() - since:6.1f} s[/dim]  {running}")
            running, since = name, time.monotonic()
            status.update(name)

        yield step
        step("")
