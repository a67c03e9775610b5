"""What all DICOM objects have in common that are made for the patient and the study of a fixed series."""

from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from mics.dicom_rt.series import Series

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

    ``description`` is told of the series, after "Research: ".
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


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to a tenth of a micrometre where that fits."""
    return f"{value:.4f}"
