"""CT slices and multi-frame files, as scanners and archives write them; written by pydicom."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset, write_file_meta_info

CT, ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SYNTAXES = {
    "implicit": pydicom.uid.ImplicitVRLittleEndian,
    "explicit": pydicom.uid.ExplicitVRLittleEndian,
    "big-endian": pydicom.uid.ExplicitVRBigEndian,
    "deflated": pydicom.uid.DeflatedExplicitVRLittleEndian,
}
_HU = ("1", "-1024")
Change = Mapping[str, Any] | Callable[[Dataset, int], object]
"""Elements by their names, or what is done with the header of slice k."""


def _image(raw: np.ndarray, number: int, kind: str = CT, syntax: str = "explicit") -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, f"1.2.3.5.{number}"
    meta.TransferSyntaxUID = SYNTAXES[syntax]
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID, one.Modality = kind, f"1.2.3.5.{number}", "CT"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = "1.2.3.2", "1.2.3.3", number
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = raw.shape[-2:]
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.PixelData = raw.tobytes()
    return one


def _changed(one: FileDataset, change: Change, k: int) -> None:
    if callable(change):
        change(one, k)
        return
    for name, value in change.items():
        setattr(one, name, value)


def _save(one: FileDataset, path: Path) -> None:
    if one.file_meta.TransferSyntaxUID != pydicom.uid.ExplicitVRBigEndian:
        one.save_as(path, enforce_file_format=True)
        return
    one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    one["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    file = DicomFileLike(buffer)
    buffer.write(bytes(128) + b"DICM")
    file.is_little_endian, file.is_implicit_VR = True, False
    write_file_meta_info(file, one.file_meta, enforce_standard=True)
    file.is_little_endian = False
    write_dataset(file, Dataset(one))
    path.write_bytes(buffer.getvalue())


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def _series(
    folder: Path, raw: np.ndarray, change: Change, numbers: Iterable[int] | None = None, syntax: str = "explicit"
) -> Path:
    folder.mkdir()
    for k in range(len(raw)):
        one = _image(raw[k], k, CT, syntax)
        one.ImagePositionPatient, one.ImageOrientationPatient = [10, -20, 2.5 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, (one.RescaleSlope, one.RescaleIntercept) = [0.9, 0.8], _HU
        if numbers is None or k in numbers:
            _changed(one, change, k)
        _save(one, folder / f"{k}.dcm")
    return folder


def _frame(k: int, scale: tuple[Any, Any] | None) -> Dataset:
    frame = _item(
        PlanePositionSequence=[_item(ImagePositionPatient=[10, -20, 2.5 * k])],
        FrameContentSequence=[_item(StackID="1", TemporalPositionIndex=1, FrameAcquisitionNumber=1)],
    )
    if scale is not None:
        slope, intercept = scale
        frame.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=intercept)]
    return frame


def _frames(
    path: Path,
    raw: np.ndarray,
    change: Change,
    scales: Iterable[tuple[Any, Any] | None] | None = None,
    syntax: str = "explicit",
) -> Path:
    one = _image(raw, 1, ENHANCED, syntax)
    one.NumberOfFrames = len(raw)
    one.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[_item(PixelSpacing=[0.9, 0.8], SpacingBetweenSlices="2.5")],
        )
    ]
    known = [_HU] * len(raw) if scales is None else scales
    one.PerFrameFunctionalGroupsSequence = [_frame(k, scale) for k, scale in enumerate(known)]
    _changed(one, change, 0)
    _save(one, path)
    return path


@pytest.fixture
def ct_slice() -> Callable[..., FileDataset]:
    """Makes a slice of rows and columns (uint16), with no place yet."""
    return _image


@pytest.fixture
def ct_series() -> Callable[..., Path]:
    """Writes slices (uint16) of 0.8, 0.9 and 2.5 mm, changed those with `numbers`, into a new folder."""
    return _series


@pytest.fixture
def ct_frames() -> Callable[..., Path]:
    """Writes the same as frames of one file, each with its (slope, intercept) of `scales`, None for none."""
    return _frames


@pytest.fixture(params=SYNTAXES)
def syntax(request: pytest.FixtureRequest) -> str:
    """Every transfer syntax of uncompressed pixels."""
    return request.param
