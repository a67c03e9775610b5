"""What 3D Slicer says of a label map's segments in an NRRD header: their names, colours and label values."""

import re
from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

_FIELD = re.compile(r"Segment\d+_\w+|Segmentation_\w+")
# Where a segment lies in its volume, and the volume in another.
_PLACES = ("_Extent", "_ReferenceImageExtentOffset")


def read_segments(path: Path) -> dict[str, str]:
    """The header's fields of segments by their names, as ``Segment0_Name``; none in another file than an NRRD.

    Raises ValueError for a header that is damaged, FileNotFoundError without a file.
    """
    if not path.name.lower().endswith(".nrrd"):
        return {}
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError("it is damaged") from error
    return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys() if _FIELD.fullmatch(key)}


def set_segments(itk: sitk.Image, segments: Mapping[str, str]) -> None:
    """Give a volume the fields of another one's segments, each of which may lie anywhere in it."""
    whole = " ".join(f"0 {length - 1}" for length in itk.GetSize())
    for key, value in segments.items():
        if key.endswith("_LabelValue"):
            itk.SetMetaData(f"{key.removesuffix('_LabelValue')}_Extent", whole)
        if not key.endswith(_PLACES):
            itk.SetMetaData(key, value)
