"""The door to structures and doses: the libraries of the extra ``dicom`` are loaded when a file needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mics.errors import SettingError
from mics.image.content import is_dicom

if TYPE_CHECKING:
    from mics.dicom_rt.structures import StructureSet

_LIBRARIES = ("pydicom", "highdicom")


@contextlib.contextmanager
def needs_dicom() -> Iterator[None]:
    """Around imports that need the extra: raises InputError where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        raise SettingError("DICOM objects need pydicom and highdicom: install mics-registration[dicom].") from error


def is_structures(path: Path) -> bool:
    """Whether a file is an RT structure set or a DICOM segmentation; raises InputError where that needs the extra."""
    return _modality(path) in ("RTSTRUCT", "SEG")


def is_dose(path: Path) -> bool:
    """Whether a file is an RTDOSE; raises InputError where that needs the extra."""
    return _modality(path) == "RTDOSE"


def structures_in(path: Path, scan: Path | None = None, series: str | None = None) -> StructureSet:
    """The structures in a file.

    Args:
        path: an RT structure set or a DICOM segmentation.
        scan: folder or zip of the series that they were drawn on, where it does not lie beside them.
        series: UID of that series, where ``scan`` holds several.

    Raises InputError as :func:`mics.dicom_rt.structure_file.read_structures` does.
    """
    with needs_dicom():
        from mics.dicom_rt.series import read_series
        from mics.dicom_rt.structure_file import read_structures
    return read_structures(path, None if scan is None else read_series(scan, series))


def _modality(path: Path) -> str | None:
    if not path.is_file() or not is_dicom(path):  # only DICOM needs the libraries
        return None
    with needs_dicom():
        from mics.dicom_rt.series import modality
    return modality(path)
