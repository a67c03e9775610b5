"""What all DICOM objects have in common that are made for the patient and the study of a fixed series; images among them."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from mics.dicom_rt.series import Series
from mics.image.grid import Grid

MANUFACTURER, MODEL = "MICS", "mics-registration"
CHARACTERS = "ISO_IR 192"
"""UTF-8, as structures have names in any language."""
RESEARCH = "Research: "
"""What every description begins with: nothing that is made here is for treatment."""
# The patient, the study and the patient at the time of it (DICOM PS3.3, C.7.1.1, C.7.2.1, C.7.2.2); no private elements.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_OPTIONAL = (
    *("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "TimezoneOffsetFromUTC"),
)


def software_version() -> str:
    """The version of this package."""
    return version(MODEL)


def new_object(series: Series, sop_class: UID, modality: str, description: str) -> Dataset:
    """An object of a new series in the study of ``series``, with new UIDs, its patient and no private element.

    ``description`` is that of the series, after "Research: ".
    """
    header, made, now = series.headers[0], Dataset(), datetime.now()
    take_patient_and_study(header, made)
    made.SpecificCharacterSet = CHARACTERS
    made.SOPClassUID, made.SOPInstanceUID = sop_class, new_uid()
    made.SeriesInstanceUID, made.Modality = new_uid(), modality
    made.SeriesDescription = RESEARCH + description
    made.SeriesNumber, made.InstanceNumber = 1, 1
    made.SeriesDate = made.InstanceCreationDate = now.strftime("%Y%m%d")
    made.SeriesTime = made.InstanceCreationTime = now.strftime("%H%M%S")
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, MODEL
    made.SoftwareVersions, made.DeviceSerialNumber = software_version(), "none"
    made.FrameOfReferenceUID = series.frame_of_reference
    made.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    return made


def take_patient_and_study(header: Dataset, made: Dataset) -> None:
    """Give ``made`` the patient and the study of ``header``: empty where it lacks what the standard asks for, and no more."""
    for keyword in (*_REQUIRED, *_OPTIONAL):
        if keyword in header:
            made[keyword] = header[keyword]
        elif keyword in _REQUIRED:
            setattr(made, keyword, "")


def put_plane(made: Dataset, grid: Grid, k: int = 0) -> None:
    """Give an image object the place of slice ``k`` of ``grid`` (DICOM PS3.3, C.7.6.2): of a volume, the first slice."""
    axes = np.array(grid.direction).reshape(3, 3)
    made.ImagePositionPatient = [decimal(x) for x in grid.voxel_to_world([0, 0, k])]
    made.ImageOrientationPatient = [f"{x:.10f}" for x in (*axes[:, 0], *axes[:, 1])]
    made.PixelSpacing = [f"{grid.spacing[1]:.8g}", f"{grid.spacing[0]:.8g}"]  # between rows, then between columns


def put_pixels(made: Dataset, values: NDArray[np.int16] | NDArray[np.uint16]) -> None:
    """Give an image object 16-bit pixels, (X, Y) or (X, Y, Z)."""
    made.Columns, made.Rows = values.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, int(values.dtype.kind == "i")
    made.add_new("PixelData", "OW", np.ascontiguousarray(values.T).astype(values.dtype.newbyteorder("<")).tobytes())


def new_uid() -> UID:
    """A UID made of a random UUID, which needs no registered root (DICOM PS3.5, B.2)."""
    return generate_uid(prefix=None)


def reference(header: Dataset) -> Dataset:
    """A reference to the SOP instance of ``header``."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def save(made: Dataset, path: Path) -> None:
    """Write a DICOM file, explicit VR little endian."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(path, enforce_file_format=True)


def long_string(name: str) -> str:
    """A name as a DICOM LO holds it: at most 64 characters, no control characters, and no backslash, which parts values."""
    spoken = "".join(character if character.isprintable() else " " for character in name.replace("\\", "/"))
    return spoken[:64].strip() or "no name"


def name_of(value: str | Sequence[str] | None) -> str:
    """A name that a file holds, one with backslashes too, which DICOM takes for several; empty where there is none."""
    return value if isinstance(value, str) else "\\".join(value or ())


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to a tenth of a micrometre where that fits."""
    return f"{value:.4f}"
