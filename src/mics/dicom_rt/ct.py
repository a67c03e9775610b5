"""A warped scan as a CT series of the fixed study."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from mics.dicom_rt.objects import decimal, new_object, new_uid, put_pixels, put_plane, save, software_version
from mics.dicom_rt.series import Series
from mics.image.io import Image

_WINDOW = (40, 400)  # HU: centre and width for the abdomen


def write_ct(warped: Image, series: Series, folder: Path) -> None:
    """Write a warped scan, HU on the grid of ``series``, as a series of its study, a file a slice, into a new folder.

    New UIDs; the patient, the study, the frame of reference and the patient's position are those of ``series``, nothing else is
    taken over. Values are rounded to whole HU, and cut off where 16 bits end.
    """
    folder.mkdir()
    bounds = np.iinfo(np.int16)
    values = np.clip(np.rint(warped.array), bounds.min, bounds.max).astype(np.int16)
    made = _new_series(series)
    for k, header in enumerate(series.headers):
        made.SOPInstanceUID, made.InstanceNumber = new_uid(), k + 1
        made.PatientPosition = header.get("PatientPosition", "")
        put_plane(made, series.grid, k)
        put_pixels(made, values[:, :, k])
        save(made, folder / f"{k + 1:04}.dcm")


def _new_series(series: Series) -> Dataset:
    made = new_object(series, CTImageStorage, "CT", "moving scan warped onto this one by MICS")
    made.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    made.DerivationDescription = (
        f"The moving scan, deformed onto the grid of the fixed scan by MICS {software_version()}. For research, neither for "
        "diagnosis nor for treatment."
    )
    made.AcquisitionNumber = made.KVP = made.Laterality = ""
    made.SliceThickness = decimal(series.grid.spacing[2])
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = 0, 1, "HU"
    made.WindowCenter, made.WindowWidth = _WINDOW
    made.BurnedInAnnotation = "NO"
    return made
