"""Structures from a file of either kind that holds them, and into one as a label map."""

import warnings
from pathlib import Path

from mics.dicom_rt.rtstruct import read_rtstruct
from mics.dicom_rt.seg import read_seg
from mics.dicom_rt.series import Series, modality
from mics.dicom_rt.structures import StructureSet
from mics.errors import InputError
from mics.image.checks import refuse_unreadable_name
from mics.image.io import to_itk, write_itk, write_labels, written_suffix

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
        found = "no DICOM file, or damaged" if kind is None else f"a DICOM file of the modality {kind or 'unknown'}"
        raise InputError(f"{path} is {found}: give an RT structure set (RTSTRUCT) or a DICOM segmentation (SEG).")
    return _READERS[kind](path, series)


def write_label_map(structures: StructureSet, path: Path) -> None:
    """Write structures as one label map: as NRRD with their names, as 3D Slicer's segmentations (.seg.nrrd) have them.

    Warns where another format loses the names. Raises InputError as :func:`mics.image.io.write_labels` does.
    """
    labels, names = structures.label_map()
    if written_suffix(path) != ".nrrd":
        listing = ", ".join(f"{number} {name}" for number, name in names.items())
        warnings.warn(f"{path} has no room for names ({listing}): call it .seg.nrrd to keep them.", stacklevel=2)
        write_labels(labels, path)
        return
    itk = to_itk(labels)
    for index, (number, name) in enumerate(names.items()):
        fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": number, "Layer": 0}
        for field, value in fields.items():
            itk.SetMetaData(f"Segment{index}_{field}", str(value))
    write_itk(itk, path)
