"""Volumes in files: read them or say in one sentence why not, and write them whole or not at all."""

import contextlib
import locale
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import InputError
from mics.image import checks, dicom, nifti
from mics.image.grid import Grid

# Directions in text headers are rounded.
_UNIT_TOLERANCE = 1e-3
# Label maps that went through floating-point numbers hold 1.0000001.
_WHOLE_TOLERANCE = 1e-3
# Floating-point numbers name the integers up to this one singly.
_LARGEST_WHOLE = 2.0**53


@dataclass(frozen=True)
class Image:
    """A volume and where it is.

    ``array`` is (X, Y, Z) in the order (i, j, k) of ``grid``: float32 HU for scans, integers for labels.
    Raises InputError if it is no array or its shape is not the grid's size.
    """

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        if not isinstance(self.array, np.ndarray):
            raise InputError(f"A volume is a numpy array, not a {type(self.array).__name__}.")
        if self.array.shape != self.grid.size:
            raise InputError(f"An array of shape {self.array.shape} does not fit a grid of size {self.grid.size}.")


def read_image(path: str | Path) -> Image:
    """A CT volume, float32, from NIfTI, NRRD, MetaImage a folder that holds one DICOM series
    or a multi-frame DICOM file (.dcm).

    Raises InputError for what is missing, unreadable, cut short, not 3D, without orientation, sheared, constant, or
    holds NaN or infinite voxels. Warns where the values do not look like Hounsfield units.
    """
    image = from_itk(read_itk(path, pixel=sitk.sitkFloat32))
    bad = image.array.size - int(np.count_nonzero(np.isfinite(image.array)))
    if bad:
        raise checks.not_finite(path, bad)
    low, high = float(image.array.min()), float(image.array.max())
    if low == high:
        raise InputError(f"{path} is constant (every voxel is {low:g}), so there is nothing to register.")
    if low >= 0:
        warnings.warn(
            f"{path} has no value below 0, so it does not look like Hounsfield units (air is -1000): "
            "check that the rescale intercept was applied.",
            UserWarning,
            stacklevel=2,
        )
    return image


def read_labels(path: str | Path) -> Image:
    """A label map, of an integer type, from the same kinds of file as :func:`read_image`.

    Raises InputError as :func:`read_image` does (a constant map is allowed), and for values further than 0.001 from an
    integer.
    """
    image = from_itk(read_itk(path, pixel=None))
    if np.issubdtype(image.array.dtype, np.integer):
        return image
    whole = np.rint(image.array)
    if not np.isfinite(whole).all() or np.abs(image.array - whole).max() > _WHOLE_TOLERANCE:
        raise InputError(f"{path} is not a label map: it holds values that are not integers.")
    if np.abs(whole).max() > _LARGEST_WHOLE:
        raise InputError(f"{path} is not a label map: it holds values up to {np.abs(whole).max():g}.")
    fits = np.abs(whole).max() <= np.iinfo(np.int32).max
    return Image(whole.astype(np.int32 if fits else np.int64), image.grid)


def write_image(image: Image, path: str | Path) -> None:
    """Write a volume as NIfTI, NRRD or MetaImage, by the name's ending; the type of its values stays.

    The file appears complete or not at all. Raises InputError if it cannot be written.
    """
    write_itk(to_itk(image), path)


def to_itk(image: Image) -> sitk.Image:
    """The volume as SimpleITK has it (a copy); truth values, which ITK does not know, become 0 and 1."""
    array = image.array.view(np.uint8) if image.array.dtype == np.bool_ else image.array
    itk = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    set_grid(itk, image.grid)
    return itk


def from_itk(itk: sitk.Image) -> Image:
    """A scalar 3D volume of SimpleITK (a copy)."""
    return Image(sitk.GetArrayFromImage(itk).transpose(2, 1, 0), grid_of(itk))


def set_grid(itk: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK volume the place of ``grid``."""
    itk.SetSpacing(grid.spacing)
    itk.SetOrigin(grid.origin)
    itk.SetDirection(grid.direction)


def grid_of(itk: sitk.Image) -> Grid:
    """Where a 3D volume of SimpleITK is."""
    return Grid(itk.GetSize(), itk.GetSpacing(), itk.GetOrigin(), itk.GetDirection())


def read_itk(path: str | Path, *, pixel: int | None, components: int = 1) -> sitk.Image:
    """A 3D volume in SimpleITK's hands, its file checked; ``pixel`` is the SimpleITK type wanted, None the file's own.

    Raises InputError as :func:`read_image` does, except for what only the values show.
    """
    path = Path(path)
    checks.refuse_unreadable_name(path)
    if path.is_dir():
        return dicom.read_series(path, pixel)
    if path.suffix.lower() == ".dcm":
        return dicom.read_file(path, pixel)
    suffix = checks.known_suffix(path)
    if suffix.lower() in (".nii", ".nii.gz"):
        nifti_volume = nifti.read_nifti(path, components)
        return nifti_volume if pixel in (None, nifti_volume.GetPixelID()) else sitk.Cast(nifti_volume, pixel)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    # Named, as ITK knows an ending in small letters only.
    reader.SetImageIO("NrrdImageIO" if suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO")
    try:
        with _decimal_point():
            reader.ReadImageInformation()
            checks.refuse_other_shapes(path, reader.GetSize(), reader.GetNumberOfComponents(), components)
            checks.refuse_missing_orientation(path, reader, suffix)
            grid = _straight_grid(path, reader)
            checks.refuse_damaged_data(path, reader)
            if pixel is not None:
                reader.SetOutputPixelType(pixel)
            itk: sitk.Image = reader.Execute()
    except RuntimeError as error:
        if "determinant is 0" in str(error):
            raise checks.degenerate(path) from error
        raise checks.unreadable(path, error) from error
    set_grid(itk, grid)
    return itk


def _straight_grid(path: Path, reader: sitk.ImageFileReader) -> Grid:
    """The grid of an NRRD or MetaImage header, which ITK takes with axes of any kind."""
    axes = np.array(reader.GetDirection()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * reader.GetSpacing()
    matrix[:3, 3] = reader.GetOrigin()
    grid = checks.straightened(path, matrix, reader.GetSize())
    lengths = np.linalg.norm(axes, axis=0)
    if np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
        raise InputError(
            f"{path} has a direction whose columns are {' '.join(f'{length:.4g}' for length in lengths)} long instead "
            "of 1, so its spacing is uncertain: convert it from DICOM again."
        )
    return grid


@contextlib.contextmanager
def _decimal_point() -> Iterator[None]:
    """Numbers with a decimal point meanwhile: ITK cuts those of NRRD at the point where a program set a decimal comma."""
    before = locale.setlocale(locale.LC_NUMERIC)
    if locale.localeconv()["decimal_point"] == ".":
        yield
        return
    locale.setlocale(locale.LC_NUMERIC, "C")
    try:
        yield
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


def write_itk(itk: sitk.Image, path: str | Path) -> None:
    """Write a SimpleITK volume; see :func:`write_image`."""
    write_whole(path, lambda temporary: sitk.WriteImage(itk, str(temporary), useCompression=True))


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file with the same ending, then give it its name; after a failure nothing is left.

    Raises InputError if that fails.
    """
    path = Path(path)
    suffix = checks.known_suffix(path)
    try:
        handle, name = tempfile.mkstemp(suffix=suffix, prefix=f".{path.name.removesuffix(suffix)}-", dir=path.parent)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"Cannot write {path}: {checks.reason(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """What the system takes away from a new file's permissions; mkstemp gives less than a user expects."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
