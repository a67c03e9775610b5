"""A folder of results: claimed before the work, filled with all files or none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from mics.errors import InputError


def usable_folder(folder: str | Path) -> Path:
    """The folder, made if need be; raises InputError if it is not empty or cannot be written."""
    folder = writable_folder(folder)
    if any(folder.iterdir()):
        raise InputError(f"The output folder {folder} is not empty; choose a new one, so that nothing is overwritten.")
    return folder


def writable_folder(folder: str | Path) -> Path:
    """The folder, made if need be; raises InputError if it cannot be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be written ({error.strerror}); choose another.") from error
    return folder


def write_together(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write all files, two at a time, into a folder within ``folder``, then move them up one by one, in their order."""
    # Within, not beside: the folder may be a mount point, whose neighbours are elsewhere or not writable.
    unfinished = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        with ThreadPoolExecutor(2) as pool:  # compressing takes one core
            list(pool.map(lambda name: writers[name](unfinished / name), writers))
        for name in writers:
            os.replace(unfinished / name, folder / name)
    except OSError as error:
        for name in writers:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise InputError(f"The results cannot be written to {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_text(text: str, path: Path) -> None:
    """Write a text file under a temporary name, then give it its name."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error
