"""The folder that a command writes into."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Claim an empty, writable folder before the work starts; if the work fails with nothing written, take it away.

    Raises InputError if something is already in the way, or another run at work there, so that no result is mixed with, or
    written over, another.
    """
    from mics.files.folder import claimed_folder

    with claimed_folder(path) as folder:
        yield folder
