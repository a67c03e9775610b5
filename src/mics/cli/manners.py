"""What all commands have in common: how much they say, in which form, on how many threads, and over what they may write."""

import functools
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Variables that libraries, and the processes that a command starts, read when they begin."""

OPTIONS: dict[str, Any] = {
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")],
    "verbose": Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what is done, with times, and why it failed.")
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print the results on stdout as one JSON object, no more.")],
    "threads": Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Threads to compute with; by default as many as there are cores."),
    ],
    "force": Annotated[
        bool, typer.Option("--force", help="Replace the results of an earlier run of this command in --output.")
    ],
}
"""Options that a command may take beside its own, by the names under which :func:`with_manners` gives them."""


@dataclass(frozen=True)
class Manners:
    """What the user asked of the command that runs."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    threads: int | None = None
    force: bool = False


_asked: ContextVar[Manners | None] = ContextVar("manners", default=None)


def asked() -> Manners:
    """The manners of the command that runs."""
    return _asked.get() or Manners()


def with_manners(command: Callable[..., None], names: Sequence[str]) -> Callable[..., None]:
    """The command with the options ``names`` of :data:`OPTIONS` behind its own; it need not know of them."""
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(Manners, name),
            annotation=OPTIONS[name],
        )
        for name in names
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        with _in_force(Manners(**{name: given.pop(name) for name in names})):
            command(**given)

    parameters = [*signature.parameters.values(), *added]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def line(text: str) -> None:
    """Print a line for the user who waits, on stdout; nothing where they asked for quiet or for JSON."""
    if not (asked().quiet or asked().as_json):
        typer.echo(text)


def results(text: str, data: Mapping[str, Any]) -> None:
    """Print what came out: as ``text``, as the JSON object ``data``, or not at all, as the user asked."""
    if asked().as_json:
        typer.echo(json.dumps(data, indent=2, allow_nan=False, default=str))
    else:
        line(text)


def in_folder(folder: Path) -> dict[str, Any]:
    """A folder and its ``summary.json``, as the object that ``--json`` prints."""
    return {"folder": folder, **json.loads((folder / "summary.json").read_bytes())}


@contextmanager
def lines_of(logger: str) -> Iterator[None]:
    """What a part of the package logs meanwhile, as lines for the user; with ``--verbose`` they have it on stderr already."""
    source = logging.getLogger(logger)
    before = source.level
    handler = _Lines()
    if not asked().verbose:
        source.addHandler(handler)
        source.setLevel(logging.INFO)
    try:
        yield
    finally:
        source.removeHandler(handler)
        source.setLevel(before)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line(record.getMessage())


@contextmanager
def _in_force(manners: Manners) -> Iterator[None]:
    """The manners while the command runs."""
    token = _asked.set(manners)
    try:
        with ExitStack() as stack:
            if manners.verbose:
                stack.enter_context(_log_on_stderr())
            if manners.threads is not None:
                stack.enter_context(_on_threads(manners.threads))
            yield
    finally:
        _asked.reset(token)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show what the package logs, and with it where a refusal comes from."""
    logger = logging.getLogger("mics")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        logger.info("%s", " ".join(["mics", *sys.argv[1:]]))
        yield
    except Exception:
        logger.debug("The command failed:", exc_info=True)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def _on_threads(number: int) -> Iterator[None]:
    """Libraries that are loaded from now on, torch and SimpleITK where they are already, and started processes, take so many."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(number)))
    setters: list[tuple[Callable[[int], None], int]] = []
    if (torch := sys.modules.get("torch")) is not None:
        setters.append((torch.set_num_threads, torch.get_num_threads()))
    if (sitk := sys.modules.get("SimpleITK")) is not None:
        process = sitk.ProcessObject
        setters.append((process.SetGlobalDefaultNumberOfThreads, process.GetGlobalDefaultNumberOfThreads()))
    for change, _ in setters:
        change(number)
    try:
        yield
    finally:
        for change, earlier in setters:
            change(earlier)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
