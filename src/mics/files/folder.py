"""A folder of results: claimed before the work, filled with all files or none."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from mics.errors import InputError, RunError
from mics.files.paths import output_path, refuse_undecodable_path

if sys.platform != "win32":
    import fcntl

SYSTEM_FILES = frozenset({".DS_Store", ".localized", "Thumbs.db", "desktop.ini", ".directory", "Icon\r"})
"""What file managers put into a folder that is looked at."""
_PARTIAL = ".partial-"


def usable_folder(folder: str | Path) -> Path:
    """The folder, made if need be; raises InputError if it is not empty or cannot be written.

    Files of the system's file managers do not count, nor does what a run that was killed left of its unfinished results,
    which is taken away.
    """
    folder = writable_folder(folder)
    if any(_counts(entry) for entry in folder.iterdir()):
        raise RunError(f"The output folder {folder} is not empty; choose a new one, so that nothing is overwritten.")
    return folder


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[Path]:
    """The folder, made if need be; until the end no other run gets it: that raises InputError at once.

    If the work fails with nothing written, what was made is taken away.
    """
    folder = Path(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _locked(writable_folder(folder)) as free:
            if not free:
                raise RunError(f"Another run is writing into the output folder {folder}; choose a new one.")
            yield folder
    except BaseException:
        with suppress(OSError):  # innermost first, until one holds something
            for empty in made:
                empty.rmdir()
        raise


@contextmanager
def locked_usable_folder(folder: str | Path) -> Iterator[Path]:
    """Like :func:`usable_folder`, and locked until the end (:func:`locked_folder`)."""
    with locked_folder(folder) as locked:
        yield usable_folder(locked)


@contextmanager
def replaced_folder(
    folder: str | Path, is_ours: Callable[[Path], bool], names: Sequence[str], of: str
) -> Iterator[Path]:
    """Like :func:`locked_usable_folder`, but results of an earlier run of the same kind give way to the new ones.

    They lie beside the folder, as ``NAME.replaced-...``, until the work is done; then they are deleted, and if it fails, put
    back. ``names`` are patterns of all files that such work writes, relative to the folder, and ``is_ours`` tells whether it
    was written by such work. Raises InputError, and touches nothing, where the folder holds any other file than ``of`` says.
    """
    folder = Path(folder)
    with locked_folder(folder) as locked:
        if not any(_counts(entry) for entry in locked.iterdir()):
            yield locked
            return
        refuse_foreign(locked, names, of)
        if not is_ours(locked):
            raise RunError(f"{folder} does not hold {of}: nothing is replaced; choose a new folder.")
        # Held on: whoever writes into these results goes on being refused.
        aside = _set_aside(locked)
        try:
            with locked_usable_folder(folder) as new:
                yield new
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def refuse_foreign(folder: Path, names: Sequence[str], of: str) -> None:
    """Raise RunError for a file in ``folder`` that is none of ``of``, whose files are called like the patterns ``names``."""
    for file in sorted(folder.rglob("*")):
        place = file.relative_to(folder)
        expected = any(len(Path(name).parts) == len(place.parts) and place.match(name) for name in names)
        if file.is_symlink() or not (file.is_dir() or expected or not _counts(file)):
            raise RunError(
                f"{folder} holds {place}, which is none of {of}: nothing is replaced; move it away, or choose a new folder."
            )


def _set_aside(folder: Path) -> Path:
    """The folder under another name beside its own; raises RunError where it cannot have one, as a mount point cannot."""
    aside = None
    try:
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.replaced-", dir=folder.parent))
        os.replace(folder, aside)
    except OSError as error:
        if aside is not None:
            aside.rmdir()
        raise RunError(f"{folder} cannot be replaced ({error.strerror}); choose a new folder.") from error
    return aside


@contextmanager
def own_folder(folder: str | Path, mark: str, of: str) -> Iterator[Path]:
    """A folder for work that goes on where it stopped, held until the end (:func:`locked_folder`).

    It is new, empty, or holds ``mark``, a file or folder that such work leaves there; raises InputError if it holds something
    else than ``of``.
    """
    with locked_folder(folder) as locked:
        if not (locked / mark).exists() and any(_counts(entry) for entry in locked.iterdir()):
            raise RunError(f"{folder} holds something else than {of}: give a new or empty folder.")
        yield locked


def free_folder(folder: Path) -> Path:
    """The folder, or if it has been filled meanwhile, a new one beside it (within it, where beside cannot be written).

    So that finished work finds a place. Raises InputError if there is none.
    """
    try:
        return usable_folder(folder)
    except InputError:
        for place in (folder, folder / "results"):
            for number in range(2, 100):
                other = place.with_name(f"{place.name}-{number}")
                with suppress(OSError):
                    other.mkdir()
                    return other
        raise


def writable_folder(folder: str | Path) -> Path:
    """The folder, made if need be; raises InputError if it cannot be written."""
    folder = output_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"The output folder {folder} cannot be written ({error.strerror}); choose another.") from error
    return folder


def write_together(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write all files, two at a time, into a folder within ``folder``, then move them up one by one, in their order.

    What a writer puts beside its own file comes along, ahead of them.
    """
    # Within, not beside: the folder may be a mount point, whose neighbours are elsewhere or not writable.
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    except OSError as error:
        raise RunError(f"The results cannot be written to {folder}: {error.strerror or error}.") from error
    moved: list[str] = []
    try:
        with _locked(unfinished):
            with ThreadPoolExecutor(2) as pool:  # compressing a volume takes one core
                list(pool.map(lambda name: writers[name](unfinished / name), writers))
            names = [*sorted({file.name for file in unfinished.iterdir()} - writers.keys()), *writers]
            for name in names:
                os.replace(unfinished / name, folder / name)
                moved.append(name)
    except OSError as error:
        for name in moved:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise RunError(f"The results cannot be written to {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder for intermediate files, taken away at the end; raises InputError where the system has no place for one."""
    try:
        refuse_undecodable_path(tempfile.gettempdir(), "folder for temporary files (TMPDIR)")
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise RunError(
            "There is no folder for temporary files that can be written: name one in the environment variable TMPDIR."
        ) from error
    with folder as name:
        yield Path(name)


def _counts(entry: Path) -> bool:
    """Whether an entry of a folder is somebody's; removes what a killed run left unfinished."""
    if entry.name in SYSTEM_FILES or entry.name.startswith("._"):  # ._NAME: macOS on foreign drives
        return False
    if not entry.name.startswith(_PARTIAL) or not entry.is_dir():
        return True
    with _locked(entry) as free:
        if free:
            shutil.rmtree(entry, ignore_errors=True)
    return not free


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone holds the folder; the system ends the hold with the process, however that dies.

    Where folders cannot be locked (Windows, some network drives) everyone holds them.
    """
    if sys.platform == "win32":
        yield True
        return
    descriptor, free = None, True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        free = False
    except OSError:
        pass
    try:
        yield free
    finally:
        if descriptor is not None:
            os.close(descriptor)
