"""Structures from a file of either kind that holds them."""

from pathlib import Path

from mics.dicom_rt.rtstruct import read_rtstruct
from mics.dicom_rt.seg import read_seg
from mics.dicom_rt.series import Series, modality
from mics.dicom_rt.structures import StructureSet
from mics.errors import InputError
from mics.image.checks import refuse_unreadable_name

_READERS = {"RTSTRUCT": read_rtstruct, "SEG": read_seg}


def read_structures(path: Path, series: Series | None = None) -> StructureSet:
    """The structures of an RT structure set or a DICOM segmentation, with their names.

    ``series`` is the one that they were made on: for :func:`mics.dicom_rt.rtstruct.read_rtstruct` by default the one found
    beside them; :func:`mics.dicom_rt.seg.read_seg` does without.

    Raises InputError for a file of another kind, and as these do.
    """
    refuse_unreadable_name(path)
    kind = modality(path)
    if kind not in _READERS:
        found = "no DICOM file" if kind is None else f"a DICOM file of the modality {kind or 'unknown'}"
        raise InputError(f"{path} is {found}: give an RT structure set (RTSTRUCT) or a DICOM segmentation (SEG).")
    return _READERS[kind](path, series)
