"""A folder of DICOM slices as one volume."""

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.checks import unreadable

_MODALITY, _POSITION, _ORIENTATION = "0008|0060", "0020|0032", "0020|0037"
_DESCRIPTION = "0008|103e"


def read_series(folder: Path, pixel: int | None) -> sitk.Image:
    """The one DICOM series in ``folder``, rescaled to HU as its headers say; ``pixel`` as in ``image.io.read_itk``.

    Raises InputError for a folder with no series or several, for missing or doubled slices and for a tilted gantry.
    Warns if the modality is not CT.
    """
    identifiers = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not identifiers:
        raise InputError(f"{folder} holds no DICOM series: give the folder in which the slices are.")
    files = {key: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), key) for key in identifiers}
    if len(files) > 1:
        raise InputError(
            f"{folder} holds {len(files)} DICOM series ({'; '.join(_describe(key, files[key]) for key in files)}): "
            "copy the slices of one into a folder of their own and give that."
        )
    names = files[identifiers[0]]
    if len(names) < 2:
        raise InputError(f"{folder} holds a single DICOM slice: give the folder of a whole series.")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    if pixel is not None:
        reader.SetOutputPixelType(pixel)
    try:
        itk: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(folder, error) from error
    if itk.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{folder} holds colour pictures, not a CT series.")
    _refuse_uneven_slices(folder, reader, len(names))
    modality = reader.GetMetaData(0, _MODALITY).strip() if reader.HasMetaDataKey(0, _MODALITY) else ""
    if modality not in ("CT", ""):
        warnings.warn(f"{folder} is a series of modality {modality}, not CT.", UserWarning, stacklevel=4)
    return itk


def _describe(identifier: str, names: tuple[str, ...]) -> str:
    """A series as a person knows it: description, number of slices, identifier."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(names[0])
    reader.ReadImageInformation()
    description = reader.GetMetaData(_DESCRIPTION).strip() if reader.HasMetaDataKey(_DESCRIPTION) else "no description"
    # GDCM appends what tells series apart to the identifier; the DICOM identifier itself ends at 64 characters.
    return f"'{description}' with {len(names)} slices, first {Path(names[0]).name}, {identifier[:64]}"


def _refuse_uneven_slices(folder: Path, reader: sitk.ImageSeriesReader, count: int) -> None:
    """Raise InputError unless the slices are evenly stacked along their normal, as ITK takes for granted."""
    if not all(reader.HasMetaDataKey(n, key) for n in range(count) for key in (_POSITION, _ORIENTATION)):
        raise InputError(f"{folder} has slices without position or orientation, so it is not a volume.")
    positions = np.array([_numbers(reader.GetMetaData(n, _POSITION)) for n in range(count)])
    row, column = _numbers(reader.GetMetaData(0, _ORIENTATION)).reshape(2, 3)
    normal = np.cross(row, column)
    height = (positions - positions[0]) @ normal
    step = height[-1] / (count - 1)
    if step == 0 or np.abs(height - step * np.arange(count)).max() > 0.1 * abs(step):
        raise InputError(f"{folder} has missing, doubled or unevenly spaced slices: export the series again, complete.")
    aside = positions - positions[0] - np.outer(height, normal)
    if np.linalg.norm(aside, axis=1).max() > abs(step) / 2:
        raise InputError(f"{folder} was scanned with a tilted gantry, so its slices are sheared: straighten it first.")


def _numbers(text: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(number) for number in text.split("\\")])
