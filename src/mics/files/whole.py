"""Files, and folders, that appear under their names whole or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mics.errors import RunError
from mics.files.paths import output_path

# What ITK says before a reason, with the address of its object, and for a reason where the system has none.
_ITK_PLACE, _NO_REASON = re.compile(r"^((ITK|sitk::)\s?ERROR: )?(\w+\(0x[0-9a-f]+\): )?"), "Reason: Success"


def write_whole(path: str | Path, write: Callable[[Path], object], *, suffix: str | None = None) -> None:
    """Let ``write`` fill a temporary file with the same ending, then give it its name; after a failure nothing is left.

    The file is on the disk before it gets its name (what a full network drive has to say is said no earlier), and has the
    permissions that any new file has. ``suffix`` is the ending where it is more than the name's last one.

    Raises RunError, one sentence, if ``write`` raises OSError or RuntimeError, or the file cannot be made or named.
    """
    path = output_path(path)
    suffix = path.suffix if suffix is None else suffix
    try:
        handle, name = tempfile.mkstemp(suffix=suffix, prefix=f".{path.name.removesuffix(suffix)}-", dir=path.parent)
    except FileNotFoundError as error:
        raise RunError(f"Cannot write {path}: there is no folder {path.parent}; make it first.") from error
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        give_name(temporary, path)
    except (OSError, RuntimeError) as error:
        raise RunError(f"Cannot write {path}: {reason(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a text file, UTF-8 with line feeds; see :func:`write_whole`."""
    write_whole(path, lambda temporary: temporary.write_bytes(text.encode()))


@contextmanager
def folder_beside(path: str | Path) -> Iterator[Path]:
    """A hidden folder beside ``path``, to be filled and then given that name; what is left of it at the end is taken away.

    Raises RunError if it cannot be made.
    """
    path = output_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give_name(finished: Path, path: Path) -> None:
    """Call a finished temporary file or folder ``path``, with the permissions of any new one; raises RunError if it cannot be."""
    try:
        finished.chmod((0o777 if finished.is_dir() else 0o666) & ~_umask())
        os.replace(finished, path)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.") from error


def reason(error: Exception) -> str:
    """What the system says, or the last line of what ITK says, without the places in its source."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip() not in ("", _NO_REASON)] or [
        "unknown error"
    ]
    return _ITK_PLACE.sub("", lines[-1]).rstrip(".!")


def _umask() -> int:
    """What the system takes away from a new file's permissions; temporary files and folders have less than a user expects."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
