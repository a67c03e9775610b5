"""RTDOSE files of sound and of impossible headers, written by pydicom."""

import numpy as np
import pydicom
import pytest

from mics.dicom_rt.rtdose import read_dose
from mics.errors import InputError

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
STORED = np.random.default_rng(0).integers(1, 60000, (4, 6, 8)).astype("<u2")  # planes, rows, columns


def written(path, **changes):
    """Voxels of 3, 2 and 2.5 mm, a thousandth of a gray a step."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = DOSE, "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dose = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dose.SOPClassUID, dose.SOPInstanceUID, dose.Modality = DOSE, "1.2.3", "RTDOSE"
    dose.NumberOfFrames, dose.Rows, dose.Columns = STORED.shape
    dose.SamplesPerPixel, dose.PhotometricInterpretation = 1, "MONOCHROME2"
    dose.BitsAllocated, dose.BitsStored, dose.HighBit, dose.PixelRepresentation = 16, 16, 15, 0
    dose.ImagePositionPatient, dose.ImageOrientationPatient = [10, -20, 30], [1, 0, 0, 0, 1, 0]
    dose.PixelSpacing, dose.GridFrameOffsetVector = [2, 3], [0, 2.5, 5, 7.5]
    dose.DoseGridScaling, dose.DoseUnits, dose.PixelData = "0.001", "GY", STORED.tobytes()
    for name, value in changes.items():
        setattr(dose, name, value)
    dose.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("offsets", "last"),
    [
        ([0, 2.5, 5, 7.5], 37.5),
        ([0, -2.5, -5, -7.5], 22.5),
        ([30, 32.5, 35, 37.5], 37.5),
        ([30, 27.5, 25, 22.5], 22.5),
    ],
)
def test_a_dose_lies_where_its_offsets_say(tmp_path, offsets, last):
    image = read_dose(written(tmp_path / "rd.dcm", GridFrameOffsetVector=offsets)).image
    np.testing.assert_allclose(image.array, STORED.transpose(2, 1, 0) * 0.001, rtol=1e-6)
    np.testing.assert_allclose(image.grid.voxel_to_world([7, 5, 3]), [10 + 21, -20 + 10, last], atol=1e-6)


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS", "ignore:The number of bytes of pixel data is sufficient")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DoseGridScaling": "0"}, "has 0 for its DoseGridScaling"),
        ({"DoseGridScaling": "NaN"}, "has NaN for its DoseGridScaling"),
        ({"DoseGridScaling": "-0.001"}, "has -0.001 for its DoseGridScaling"),
        ({"PixelRepresentation": 1}, "holds doses below 0, down to -32"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit 15"),
        ({"PixelSpacing": [0, 3]}, "is damaged: The spacing of a grid is positive"),
        ({"ImagePositionPatient": ["NaN", "0", "0"]}, "is damaged: The origin of a grid"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "is damaged: The columns of a direction are orthonormal"),
        ({"PixelData": STORED[:3].tobytes()}, "is damaged or stored in a way that is not read"),
        ({"PixelData": STORED.tobytes() * 2}, "is damaged: An array of shape"),
        ({"GridFrameOffsetVector": [0, 2.5, 5, 8.5]}, "unevenly spaced planes"),
        ({"GridFrameOffsetVector": [50, 52.5, 55, 57.5]}, "does not say clearly where its planes are"),
        (
            {"GridFrameOffsetVector": [30, 32.5, 35, 37.5], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
            "does not say clearly where its planes are",
        ),
    ],
)
def test_what_is_no_dose_is_refused_with_the_files_name(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"rd\.dcm .*{message}|rd\.dcm {message}"):
        read_dose(written(tmp_path / "rd.dcm", **changes))
