"""The folder that a command writes into."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mics.cli.manners import asked
from mics.errors import RunError


@dataclass(frozen=True)
class Results:
    """What a command leaves in its folder, so that ``--force`` can tell it from anything else.

    ``of``: in words; ``names``: patterns of its files, relative to the folder; ``is_ours``: whether a folder with no other files
    was written by the command.
    """

    of: str
    names: tuple[str, ...]
    is_ours: Callable[[Path], bool]


@contextlib.contextmanager
def output_folder(path: Path, results: Results | None = None) -> Iterator[Path]:
    """Claim an empty, writable folder before the work starts; if the work fails with nothing written, take it away.

    Raises InputError if something is already in the way, or another run at work there, so that no result is mixed with, or
    written over, another. With ``--force``, earlier ``results`` of the same command make room when the work is done.
    """
    from mics.files.folder import locked_usable_folder, replaced_folder

    if results is not None and asked().force:
        claimed = replaced_folder(path, results.is_ours, results.names, results.of)
    else:
        if results is not None and results.is_ours(path):
            raise RunError(
                f"The output folder {path} holds {results.of} already; choose a new one, or replace them with --force."
            )
        claimed = locked_usable_folder(path)
    with claimed as folder:
        yield folder
