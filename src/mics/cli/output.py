"""The folder that a command writes into."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Claim an empty, writable folder before the work starts; if the work fails with nothing written, take it away.

    Raises InputError if something is already in the way, so that no result is mixed with, or written over, another.
    """
    from mics.image.folder import usable_folder

    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield usable_folder(path)
    except BaseException:
        # Innermost first, until one holds something.
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
