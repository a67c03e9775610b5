"""RT structure sets, DICOM segmentations and doses, where a command takes a label map or an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mics.cli.extras import needs_dicom

if TYPE_CHECKING:
    from mics.dicom_rt.structures import StructureSet


def is_structures(path: Path) -> bool:
    """Whether a file is an RT structure set or a DICOM segmentation; raises InputError where that needs an extra."""
    return _modality(path) in ("RTSTRUCT", "SEG")


def is_dose(path: Path) -> bool:
    """Whether a file is an RTDOSE; raises InputError where that needs an extra."""
    return _modality(path) == "RTDOSE"


def read(path: Path, scan: Path | None = None) -> StructureSet:
    """The structures; ``scan``: the folder of the series that they were drawn on, where it does not lie beside them."""
    with needs_dicom():
        from mics.dicom_rt.series import read_series
        from mics.dicom_rt.structure_file import read_structures
    return read_structures(path, None if scan is None else read_series(scan))


def _modality(path: Path) -> str | None:
    # A DICOM file says so after 128 bytes (PS3.10, 7.1): only then are the libraries needed.
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    with needs_dicom():
        from mics.dicom_rt.series import modality
    return modality(path)
