"""How the commands fail: one sentence on stderr and an exit code, never a traceback for something the user can correct."""

import errno
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from mics.errors import InputError, Terminated
from mics.files.paths import as_path, refuse_undecodable_path
from mics.image.available import refuse_small_limit

BAD_INPUT = 2
LOOK, FAILED = 3, 4  # the verdict of a registration, where the user asks for it as an exit code
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C
TERMINATED = 143  # and by SIGTERM
PACKAGE = Path(__file__).parents[1]
_ARGUMENT = re.compile(r"`(\w+)(?:[= ]([^`]*))?`")


class Commands(TyperGroup):
    """A group of commands that turns InputError, what the system refuses, Ctrl-C and SIGTERM into a sentence and an exit code."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, unless a name that it is given, or a folder that it works in, is not UTF-8, or memory is short."""
        for name in filter(None, args):
            as_path(name)
        with suppress(FileNotFoundError):
            refuse_undecodable_path(os.getcwd(), "working folder")
        refuse_undecodable_path(os.environ.get("TMPDIR"), "folder for temporary files (TMPDIR)")
        refuse_small_limit()
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with warnings.catch_warnings(), _sigterm_raises() as asked:
                warnings.simplefilter(
                    "default"
                )  # whatever the environment makes of warnings, they are shown or dropped here
                warnings.showwarning = partial(_show_warning, lambda: self._flags(ctx))
                try:
                    return super().invoke(ctx)
                except Exception as error:
                    # A library that is just being imported may take the request for itself, and fail of what it lacks then.
                    if asked and not isinstance(error, typer.Exit):
                        raise Terminated from error
                    raise
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's, by which typer checks
            raise
        except InputError as error:
            print_message(f"Error: {in_flags(str(error), self._flags(ctx))}")
            raise typer.Exit(BAD_INPUT) from None
        except OSError as error:  # a full disk, a read-only home: nothing that a traceback explains
            if error.errno == errno.EPIPE:  # the reader of our output has gone, which typer knows how to take
                raise
            what = (
                f"{error.strerror}: {error.filename}"
                if error.strerror and error.filename
                else error.strerror or str(error)
            )
            # A library's own, as matplotlib's where it keeps its fonts.
            remedy = ": name a folder that can be written in TMPDIR" if "temporary directory" in what else ""
            print_message(f"Error: {what.rstrip('.')}{remedy}.")
            raise typer.Exit(BAD_INPUT) from None
        except (MemoryError, RuntimeError) as error:
            # SimpleITK and torch raise RuntimeError.
            if isinstance(error, RuntimeError) and "allocate" not in str(error):
                raise
            print_message(
                "Error: There is not enough memory left: give smaller scans, or use a machine, a job or a limit (ulimit -v) "
                "with more."
            )
            raise typer.Exit(BAD_INPUT) from None
        except Terminated:
            print_message("Terminated.")
            raise typer.Exit(TERMINATED) from None
        except KeyboardInterrupt:
            print_message("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None

    def _flags(self, ctx: Any) -> dict[str, str]:
        """What a user types for each argument of the chosen command: ``--affine``, ``RECIPE``."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        return {
            parameter.name: max(parameter.opts, key=len)
            if parameter.param_type_name == "option"
            else parameter.name.upper()
            for parameter in (command.params if command else ())
            if parameter.name
        }


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """A sentence of the library as a command says it: `` `refine="none"` `` is ``--refine none`` where it has that option."""

    def flag(argument: re.Match[str]) -> str:
        name, value = argument.groups()
        if name not in flags:
            return argument.group()
        return flags[name] if value is None else f"{flags[name]} {value.strip(chr(34))}"

    return _ARGUMENT.sub(flag, message)


@contextmanager
def _sigterm_raises() -> Iterator[list[int]]:
    """Batch systems, containers and `timeout` end a process by SIGTERM: it is to clean up as after Ctrl-C.

    Gives a list that is empty until that is asked for.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    own = os.getpid()

    def terminate(number: int, _: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker, which has nothing to clean up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_DFL)  # again: at once
        asked.append(number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def print_message(message: str) -> None:
    """Print a message on stderr, on one line."""
    print(" ".join(message.split()), file=sys.stderr, flush=True)


def _show_warning(
    flags: Callable[[], Mapping[str, str]],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show the package's warnings to the user as messages; those of other libraries are for their developers."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
        print_message(f"Warning: {in_flags(str(message), flags())}")
