"""How the commands fail: one sentence on stderr and an exit code, never a traceback for something the user can mend."""

import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from mics.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C
PACKAGE = Path(__file__).parents[1]


class Commands(TyperGroup):
    """A group of commands that turns InputError and Ctrl-C into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except InputError as error:
            say(f"Error: {error}")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


def say(sentence: str) -> None:
    """Print a sentence on stderr, on one line."""
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show the package's warnings to the user as sentences; those of other libraries are for their developers."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
        say(f"Warning: {message}")
