"""YAML that a user writes: a file of settings, or a single value."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mics.errors import InputError, MissingFileError

_MAX_VALUES = 100_000
"""In a file of settings, each counted as often as it is referred to."""
_MERGE = "tag:yaml.org,2002:merge"


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


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML's own takes the last."""

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
