"""What a command says when an extra that it needs is not installed."""

import contextlib
from collections.abc import Iterator

from mics.errors import SettingError


@contextlib.contextmanager
def needs_training() -> Iterator[None]:
    """Around imports that need the extra ``train``: raises InputError where it is missing."""
    with _needs(("lightning",), "Training needs Lightning: install mics-registration[train]."):
        yield


@contextlib.contextmanager
def needs_dicom() -> Iterator[None]:
    """Around imports that need the extra ``dicom``: raises InputError where it is missing."""
    with _needs(
        ("pydicom", "highdicom"), "DICOM objects need pydicom and highdicom: install mics-registration[dicom]."
    ):
        yield


@contextlib.contextmanager
def _needs(modules: tuple[str, ...], sentence: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        raise SettingError(sentence) from error
