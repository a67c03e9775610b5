"""YAML that a user writes: a file of settings, or a single value."""

from pathlib import Path
from typing import Any

import yaml

from mics.errors import InputError, MissingFileError

_MAX_VALUES = 100_000
"""In a file of settings, each counted as often as it is referred to."""


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The settings in a YAML file, ``what`` it is to be. Raises :class:`InputError` for anything but a mapping by names."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}): give {what}, a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not valid YAML ({' '.join(str(error).split())[:300]}); it is to be {what}."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path} is not {what}: it must be a YAML mapping of settings.")
    return content


def parse_yaml(text: str) -> Any:
    """What YAML says: plain values, lists and mappings, never an object of Python.

    Raises yaml.YAMLError, ValueError or RecursionError for what is none, and for references (``*name``) that unfold to more
    than a hundred thousand values: a few lines can stand for billions, which whoever prints or copies them would meet.
    """
    content = yaml.safe_load(text)
    if _unfolded(content, {}) > _MAX_VALUES:
        raise ValueError(f"its references unfold to more than {_MAX_VALUES} values, or into themselves")
    return content


def _unfolded(value: Any, known: dict[int, int]) -> int:
    """How many values there are where every reference is written out; ``known`` holds those counted by their id."""
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = _MAX_VALUES + 1  # counted only where it holds itself
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_unfolded(part, known) for part in parts)
    return known[id(value)]
