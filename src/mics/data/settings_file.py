"""YAML that a user writes: a file of settings, or a single value."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mics.errors import InputError, MissingFileError

_MAX_VALUES = 100_000
"""In a file of settings, each counted as often as it is referred to."""
_MERGE, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "int", "float"))


class FileSettings(BaseModel):
    """Settings of a file: unknown keys are refused, and so is yes or no (YAML's true, on, ...) where a number is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as the number 1, and pydantic with it."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind is bool or (isinstance(kind, type) and issubclass(kind, FileSettings)):  # the latter looks at its own
            return value
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if any(isinstance(part, bool) for part in parts):
            raise PydanticCustomError("truth_value", "Input should not be true or false (yes, no, on, off)")
        return value


_TWO_WAYS = {_INT: re.compile(r"[-+]?0\d|.*:"), _FLOAT: re.compile(".*:")}
"""A whole number with a leading zero, octal in YAML 1.1 and decimal in 1.2; and one of sixties, which is text in 1.2."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML's own takes the last, and numbers that mean two things."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        known: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in known:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} stands there twice", key.start_mark
                    )
                known.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """The number of a node."""
        construct = self.construct_yaml_int if node.tag == _INT else self.construct_yaml_float
        value: int | float = construct(node)
        if _TWO_WAYS[node.tag].match(node.value):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} is {value} to some programs: write it without leading zeros or colons",
                node.start_mark,
            )
        return value


for _tag in (_INT, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)


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

    Raises yaml.YAMLError, ValueError or RecursionError for what is none, for a key that is there twice, and for references
    (``*name``) that unfold to more than a hundred thousand values: a few lines can stand for billions, which whoever prints or
    copies them would meet.
    """
    content = _Loader(text).get_single_data()
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
