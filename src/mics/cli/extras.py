"""What a command says when an extra that it needs is not installed."""

import contextlib
from collections.abc import Iterator

from mics.errors import SettingError


@contextlib.contextmanager
def needs_training() -> Iterator[None]:
    """Around imports that need the extra ``train``: raises InputError where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        raise SettingError("Training needs Lightning: install mics-registration[train].") from error
