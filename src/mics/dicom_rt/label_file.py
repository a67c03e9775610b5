"""A label map in a file, with what its labels are called where the format has room for it."""

import warnings
from pathlib import Path

from mics.dicom_rt.structures import StructureSet
from mics.image.io import to_itk, write_itk, write_labels, written_suffix


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
