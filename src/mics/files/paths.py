"""Names of files and folders, looked at before anything is done with them."""

import os
import sys
from pathlib import Path

from mics.errors import InputError, SettingError, require_type


def as_path(name: str | os.PathLike[str]) -> Path:
    """The name as a Path.

    Raises InputError for what is no name, an empty one, one with a NUL character and one that is not UTF-8, at which ITK
    ends the process.
    """
    given = os.fspath(name) if isinstance(name, os.PathLike) else name
    require_type(given, str, "The name of a file or folder is a str or a Path")
    if not given:
        raise SettingError("The name of a file or folder is empty: give one.")
    if "\0" in given:
        raise SettingError(f"The name {given!r} holds a NUL character, which no file has: leave it out.")
    _refuse_other_characters(given, "name")
    return Path(given)


def output_path(name: str | os.PathLike[str]) -> Path:
    """:func:`as_path` for what is written; raises InputError also where the folder that it is relative to is not UTF-8."""
    path = as_path(name)
    try:
        # Temporary files have absolute names.
        _refuse_other_characters(os.path.abspath(path), "folder")
    except FileNotFoundError as error:
        raise InputError(f"{path} is relative to the working folder, which is gone: change into another.") from error
    return path


def refuse_undecodable_path(folder: str | None, what: str) -> None:
    """Raise InputError where a folder of the process, ``what``, is not UTF-8."""
    _refuse_other_characters(folder or "", what)


def _refuse_other_characters(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        readable = os.fsencode(text).decode(errors="backslashreplace")
        if readable.encode() == os.fsencode(text):
            raise SettingError(
                f"The {what} {readable} is UTF-8, and this process takes names for {sys.getfilesystemencoding()}: set the "
                "locale to one of UTF-8 (LC_ALL=C.UTF-8), or PYTHONUTF8=1."
            ) from None
        raise InputError(
            f"The {what} {readable} is not UTF-8: rename it (older zip programs write such names)."
        ) from None
