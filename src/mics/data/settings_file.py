"""A YAML file of settings that a user writes."""

from pathlib import Path
from typing import Any

import yaml

from mics.errors import InputError, MissingFileError


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The settings in a YAML file, ``what`` it is to be. Raises :class:`InputError` for anything but a mapping by names."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}): give {what}, a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not valid YAML ({' '.join(str(error).split())[:300]}); it is to be {what}."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path} is not {what}: it must be a YAML mapping of settings.")
    return content
