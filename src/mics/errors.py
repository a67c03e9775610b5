"""The errors that a user can correct, and the system's request to end.

InputError (ValueError)        whatever a user can correct: all below, and files whose content is damaged or of another kind
├── MissingFileError           a file or folder to read is not there, or the system does not give it
├── GeometryError              grids, headers and fields of view that say no place, or do not fit together
├── SettingError               an argument or a setting that is unknown, of another type, or does not go with the others
├── InsufficientMemoryError    more memory is needed than is left
└── RunError                   work cannot begin where it is to be done, or cannot go on: folder, disk, divergence

Terminated (KeyboardInterrupt) the system asks the process to end
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_SHOWN = 40  # characters


class InputError(ValueError):
    """Bad input or an unusable setting; the message is one sentence that says what, where, and what to do.

    Also for arguments of a wrong type, for which Python has TypeError: callers need one ``except``. The commands print it
    without a traceback and exit with code 2.

    ``option``: the argument to change, where there is one. In the sentence arguments stand between backticks, with or without
    a value, as in "use `affine="none"`"; the commands show them as their flags, ``--affine none``.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class MissingFileError(InputError):
    """A file or folder that is to be read is not there, or the system does not give it."""


class GeometryError(InputError):
    """A grid, a header or a field of view says no place, or does not fit the others."""


class SettingError(InputError):
    """An argument or a setting is unknown, of another type, or does not go with the others."""


class InsufficientMemoryError(InputError):
    """More memory is needed than is left."""


class RunError(InputError):
    """Work cannot begin where it is to be done, or cannot go on: the folder is taken, the disk is full, the loss diverges."""


class Terminated(KeyboardInterrupt):
    """The system asks the process to end (SIGTERM): what cleans up or saves after Ctrl-C does so after this too."""


def require_type(value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise SettingError unless ``value`` is of one of the ``kinds``; ``expected`` says what it should be: "A seed is an int"."""
    if not isinstance(value, kinds):
        raise SettingError(f"{expected}, not {shown(value)}.")


def shown(value: object) -> str:
    """A value as a sentence can show it: short ones as they are, of a long text its beginning, of others the type."""
    text = repr(value)
    if len(text) <= _SHOWN and "\n" not in text:
        return text
    return (
        f"{value[: _SHOWN // 2]!r}… ({len(value)} characters)"
        if isinstance(value, str)
        else f"a {type(value).__name__}"
    )


def counted(number: int, noun: str) -> str:
    """So many things, in words: 1 point, 2 points, 2 atlases."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def some_of(number: int, total: int, noun: str) -> str:
    """So many of all, in words, at the beginning of a sentence: The only point, 1 of the 3 points."""
    return f"The only {noun}" if total == 1 else f"{number} of the {total} {noun}s"


def first_problem(error: "ValidationError") -> str:
    """The first thing that is wrong with a model's values, and where."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
