"""CT series as scanners store them, written with pydicom alone, and an object without any symmetry in them."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

PLANTED = {"PatientName": "Planted^Nora", "PatientID": "PLANTED-4711", "PatientBirthDate": "19501231"}
_TILT = Rotation.from_euler("xyz", [11, -8, 20], degrees=True).as_matrix()[:, :2].T.ravel()
POSITIONS = {
    "head_first_supine": ("HFS", [1, 0, 0, 0, 1, 0]),
    "feet_first_supine": ("FFS", [-1, 0, 0, 0, 1, 0]),
    "head_first_prone": ("HFP", [-1, 0, 0, 0, -1, 0]),
    "decubitus_right": ("HFDR", [0, 1, 0, -1, 0, 0]),
    "decubitus_left": ("FFDL", [0, -1, 0, -1, 0, 0]),
    "oblique": ("HFS", _TILT.tolist()),
}
"""Patient Position and the direction of rows and columns."""
SIZE, SPACING = (44, 38, 13), (2.0, 2.5, 4.0)
CENTRE = np.array([12.0, -35.0, 140.0])  # LPS mm


def axes_of(orientation) -> np.ndarray:
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    return np.column_stack([row, column, np.cross(row, column)])


def write_series(
    folder: Path, orientation, position="HFS", *, centre=CENTRE, elements=None, hu=None, aside=(0, 0)
) -> Path:
    """A series of CT slices, one file each, named in another order than they lie, with private elements.

    `aside`: mm along rows and columns that each slice lies further than the one before, as with a tilted gantry. `hu`
    gives the values at LPS points; by default they are random, other in each slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    axes, random = axes_of(orientation), np.random.default_rng(0)
    step = axes @ (*aside, SPACING[2])
    first = centre - axes[:, :2] @ ((np.array(SIZE[:2]) - 1) / 2 * SPACING[:2]) - step * (SIZE[2] - 1) / 2
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(SIZE[2]):
        made = Dataset()
        for keyword, value in {
            **PLANTED,
            "PatientSex": "F",
            "StudyInstanceUID": study,
            "StudyDate": "20240105",
            "StudyTime": "101500",
            "StudyID": "7",
            "AccessionNumber": "A17",
            "ReferringPhysicianName": "Planted^Doctor",
            "SeriesInstanceUID": series,
            "SeriesNumber": 3,
            "SeriesDescription": "planning",
            "FrameOfReferenceUID": frame,
            "PositionReferenceIndicator": "",
            "Manufacturer": "scanner",
            "Modality": "CT",
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": generate_uid(),
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "InstanceNumber": k + 1,
            "PatientPosition": position,
            "KVP": "120",
            "AcquisitionNumber": 1,
            "SliceThickness": SPACING[2],
            "ImagePositionPatient": [f"{x:.6f}" for x in first + step * k],
            "ImageOrientationPatient": [f"{x:.10f}" for x in orientation],
            "PixelSpacing": [SPACING[1], SPACING[0]],
            "RescaleIntercept": -1024,
            "RescaleSlope": 1,
            "RescaleType": "HU",
            "Columns": SIZE[0],
            "Rows": SIZE[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            **(elements or {}),
        }.items():
            setattr(made, keyword, value)
        block = made.private_block(0x0099, "PLANTED VENDOR", create=True)
        block.add_new(1, "LO", "planted private text")
        stored = random.integers(0, 2000, SIZE[:2])
        if hu is not None:
            plane = np.moveaxis(np.indices(SIZE[:2]), 0, -1) * SPACING[:2] @ axes[:, :2].T
            stored = np.rint(hu(plane + first + step * k) + 1024)
        made.add_new("PixelData", "OW", np.ascontiguousarray(stored.T).astype("<u2").tobytes())
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = CTImageStorage
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(folder / f"{(5 * k) % SIZE[2]:03}", enforce_file_format=True)
    return folder


def by_itk(folder: Path) -> sitk.Image:
    """The series as SimpleITK reads it, without anything of ours."""
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkFloat32)


def places(volume: sitk.Image) -> np.ndarray:
    """LPS mm of each voxel of a SimpleITK volume, (X, Y, Z, 3)."""
    direction = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
    return np.moveaxis(np.indices(volume.GetSize()), 0, -1) @ direction.T + volume.GetOrigin()


# Centre from CENTRE and radius in LPS mm: no two alike, in no symmetric place.
PARTS = (((8, -5, -4), 17), ((-22, 14, 12), 8))
HOLE = ((13, -8, -7), 7)


def inside(points: np.ndarray) -> np.ndarray:
    """Whether LPS points lie in the object: a large ball with a hole off its centre, and a small ball beside it."""
    near = lambda part: np.linalg.norm(points - CENTRE - part[0], axis=-1) < part[1]  # noqa: E731
    return (near(PARTS[0]) & ~near(HOLE)) | near(PARTS[1])


@pytest.fixture(params=POSITIONS)
def series_folder(request, tmp_path) -> Path:
    """A series in each position of the patient in turn."""
    position, orientation = POSITIONS[request.param]
    return write_series(tmp_path / "ct", orientation, position)


@pytest.fixture(scope="session")
def helpers() -> ModuleType:
    """This file, as a test file cannot import it."""
    return sys.modules[__name__]
