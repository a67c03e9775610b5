"""Volumes in files: read them or say in one sentence why not, and write them whole or not at all."""

import contextlib
import errno
import locale
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, SettingError, require_type
from mics.files.paths import as_path, output_path
from mics.files.whole import write_whole
from mics.image import checks, completeness, dicom, modality, nifti, text_headers, text_voxels
from mics.image.content import is_dicom, other_kind
from mics.image.grid import Grid
from mics.image.segments import set_segments
from mics.image.slice_stack import Tilt, correct_tilt
from mics.image.zipped import is_zip
from mics.registry import Registry

# Label maps that went through floating-point numbers hold 1.0000001.
_WHOLE_TOLERANCE = 1e-3


Reader = Callable[[Path], "Image"]
"""A file to its volume, in HU for a scan; raises :class:`InputError` with the path where it cannot be read."""

READERS: Registry[Reader] = Registry("reader of images", {})
"""Formats that MICS does not read itself, by the ending of their files' names, in small letters with its dot."""


@dataclass(frozen=True, eq=False)
class Image:
    """A volume and where it is.

    Two are equal if their grids, the types of their values and all values are. Arrays can be changed, so there is no hash.

    Args:
        array: (X, Y, Z) in the order (i, j, k) of ``grid``: float32 HU for scans, integers for labels.
        grid: Where its voxels are.

    Raises:
        InputError: If it is no array of real numbers or its shape is not the grid's size.
    """

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        require_type(self.array, np.ndarray, "A volume is a numpy array")
        require_type(self.grid, Grid, "The place of a volume is a Grid")
        if self.array.dtype.kind not in "biuf":
            raise InputError(f"A volume holds integers or real numbers, not values of the type {self.array.dtype}.")
        if isinstance(self.array, np.ma.MaskedArray):
            raise InputError("A volume has a value in every voxel, a masked array has not: fill it, by -1000 HU.")
        if self.array.shape != self.grid.size:
            raise GeometryError(f"An array of shape {self.array.shape} does not fit a grid of size {self.grid.size}.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        alike = self.grid == other.grid and self.array.dtype == other.array.dtype
        return alike and np.array_equal(self.array, other.array, equal_nan=True)

    def __repr__(self) -> str:
        return f"Image({self.grid}, {self.array.dtype} from {self.array.min():.6g} to {self.array.max():.6g})"

    @classmethod
    def of(cls, volume: Any) -> "Image":
        """A volume of another library (:func:`mics.image.libraries.as_image`).

        Args:
            volume: Of SimpleITK, nibabel, ANTs, MONAI or TorchIO, or ``(array, grid)``.

        Returns:
            The same volume and place.

        Raises:
            InputError: For what is not one 3D volume with a place.
        """
        from mics.image.libraries import given_image

        return given_image(volume, "What is to become an Image")

    def to_sitk(self) -> sitk.Image:
        """The volume for SimpleITK.

        Returns:
            A ``SimpleITK.Image``, a copy.
        """
        return to_itk(self)

    def to_nibabel(self) -> Any:
        """The volume for nibabel.

        Returns:
            A ``nibabel.Nifti1Image``, a copy, its affine in RAS mm.
        """
        from mics.image import libraries

        return libraries.to_nibabel(self)

    def to_ants(self) -> Any:
        """The volume for ANTsPy.

        Returns:
            An ``ants.ANTsImage``, a copy.
        """
        from mics.image import libraries

        return libraries.to_ants(self)

    def to_monai(self) -> Any:
        """The volume for MONAI.

        Returns:
            A ``MetaTensor`` (1, X, Y, Z), its affine in RAS mm.

        Raises:
            InputError: Where MONAI is not installed.
        """
        from mics.image import libraries

        return libraries.to_monai(self)

    def to_torchio(self, *, labels: bool = False) -> Any:
        """The volume for TorchIO.

        Args:
            labels: Whether the voxels are labels.

        Returns:
            A ``ScalarImage``, of labels a ``LabelMap``.

        Raises:
            InputError: Where TorchIO is not installed.
        """
        from mics.image import libraries

        return libraries.to_torchio(self, labels=labels)


def read_image(path: str | Path, series: str | None = None) -> Image:
    """A CT volume.

    What the values mean is looked at where CT is needed (:mod:`mics.image.hounsfield`).

    Args:
        path: NIfTI, NRRD, MetaImage, a folder or zip of a DICOM series, a multi-frame DICOM file (.dcm), or a format that has a
            reader in :data:`READERS`.
        series: UID of the series to take from a folder that holds several.

    Returns:
        The volume, (X, Y, Z) float32, with its grid.

    Raises:
        InputError: For what is missing, unreadable, cut short, not 3D, without orientation, sheared, constant, or holds NaN or
            infinite voxels, or has them where no patient lies.
    """
    image = from_itk(read_itk(path, pixel=sitk.sitkFloat32, series=series))
    bad = image.array.size - int(np.count_nonzero(np.isfinite(image.array)))
    if bad:
        raise checks.not_finite(path, bad)
    low = float(image.array.min())
    if low == float(image.array.max()):
        raise InputError(f"{path} is constant (every voxel is {low:g}), so there is nothing to register.")
    checks.check_place(path, image.grid)
    checks.warn_of_odd_lengths(path, image.grid)
    if as_path(path).is_file() and _registered_reader(as_path(path)) is None:
        modality.warn_of_other_kind(as_path(path))
    return image


def read_labels(path: str | Path, series: str | None = None) -> Image:
    """A label map.

    Args:
        path: A file or folder of the kinds that :func:`read_image` reads.
        series: UID of the series to take from a folder that holds several.

    Returns:
        The map, (X, Y, Z) of an integer type, with its grid.

    Raises:
        InputError: As :func:`read_image` does (a constant map is allowed), and for values further than 0.001 from an integer.
    """
    labels = whole_numbers(from_itk(read_itk(path, pixel=None, series=series)), path)
    checks.check_place(path, labels.grid)
    checks.warn_of_byte_order(labels.array, path)
    checks.warn_of_other_background(labels.array, path)
    return labels


def whole_numbers(image: Image, name: str | Path) -> Image:
    """A label map of an integer type; raises InputError for values further than 0.001 from an integer."""
    if image.array.dtype.kind != "f":
        return image
    whole = np.rint(image.array)
    if not np.isfinite(whole).all() or np.abs(image.array - whole).max() > _WHOLE_TOLERANCE:
        raise InputError(f"{name} is not a label map: it holds values that are not integers.")
    checks.refuse_vanishing_labels(image.array, whole, name)
    if np.abs(whole).max() > checks.MAX_WHOLE:
        raise InputError(f"{name} is not a label map: it holds values up to {np.abs(whole).max():g}.")
    fits = np.abs(whole).max() <= np.iinfo(np.int32).max
    return Image(whole.astype(np.int32 if fits else np.int64), image.grid)


def write_image(image: Image, path: str | Path) -> None:
    """Write a volume; the file appears complete or not at all.

    The type of its values stays where other programs read it: 64-bit integers, which ANTs, FSL and SPM do not, become the
    smallest type that holds them.

    Args:
        image: The volume.
        path: The file; its ending chooses the format, NIfTI (.nii, .nii.gz), NRRD (.nrrd) or MetaImage (.mha).

    Raises:
        InputError: If it cannot be written, or the ending is none of these.
    """
    require_type(image, Image, "What is written is an Image")
    wide = image.array.dtype.kind in "iu" and image.array.dtype.itemsize == 8
    write_itk(to_itk(smallest(image) if wide else image), path)


def write_labels(labels: Image, path: str | Path, segments: Mapping[str, str] | None = None) -> None:
    """Write a label map as :func:`write_image` does, in the smallest integer type that holds its labels.

    ``segments``: what :func:`mics.image.segments.read_segments` read, which NRRD alone keeps.
    """
    require_type(labels, Image, "What is written is an Image")
    itk = to_itk(smallest(labels))
    set_segments(itk, segments or {})
    write_itk(itk, path)


def to_itk(image: Image) -> sitk.Image:
    """The volume as SimpleITK has it (a copy), in this machine's byte order.

    Types that ITK does not know become those that hold their values: truth values 0 and 1, float16 float32.
    """
    array = image.array
    known: dict[str, np.dtype[Any]] = {
        "b": np.dtype(np.uint8),
        "f2": np.dtype(np.float32),
        "f16": np.dtype(np.float64),
    }
    kind = "b" if array.dtype.kind == "b" else f"{array.dtype.kind}{array.dtype.itemsize}"
    array = array.astype(known.get(kind, array.dtype.newbyteorder("=")), copy=False)
    itk = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    set_grid(itk, image.grid)
    return itk


def smallest(image: Image) -> Image:
    """Whole numbers in the smallest integer type that holds them."""
    low, high = int(image.array.min()), int(image.array.max())
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return Image(image.array.astype(dtype, copy=False), image.grid)
    return image


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


def read_itk(path: str | Path, *, pixel: int | None, components: int = 1, series: str | None = None) -> sitk.Image:
    """A 3D volume in SimpleITK's hands, its file checked; ``pixel`` is the SimpleITK type wanted, None the file's own.

    ``series`` as in :func:`read_image`.

    Raises InputError as :func:`read_image` does, except for what only the values show.
    """
    path = as_path(path)
    checks.refuse_unreadable_name(path)
    require_type(series, (str, type(None)), "A series is named by its UID, a str")
    if path.is_dir() or is_zip(path):
        return dicom.read_series(path, pixel, series)
    if series is not None:
        raise SettingError(f"{path} is a single file: a series is chosen from the folder, or a zip, of a DICOM study.")
    if path.suffix.lower() == ".dcm":
        return dicom.read_file(path, pixel)
    if components == 1 and (registered := _registered_reader(path)) is not None:
        volume = to_itk(registered(path))
        return volume if pixel is None else sitk.Cast(volume, pixel)
    if not checks.has_known_suffix(path) and is_dicom(path):
        return dicom.read_file(path, pixel)
    suffix = checks.known_suffix(path)
    if suffix.lower() in (".nii", ".nii.gz"):
        nifti_volume = nifti.read_nifti(path, components, labels=pixel is None)
        return nifti_volume if pixel in (None, nifti_volume.GetPixelID()) else sitk.Cast(nifti_volume, pixel)
    if other_kind(path) is not None:
        raise checks.unreadable(path, RuntimeError("its content"))
    text_headers.refuse_unclear_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    # Named, as ITK knows an ending in small letters only.
    reader.SetImageIO("NrrdImageIO" if suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO")
    try:
        with _decimal_point():
            reader.ReadImageInformation()
            checks.refuse_other_shapes(path, reader.GetSize(), reader.GetNumberOfComponents(), components)
            place = text_headers.place(path, reader, may_be_tilted=components == 1)
            text_voxels.refuse_damaged_data(path, reader)
            if pixel is not None:
                reader.SetOutputPixelType(pixel)
            itk: sitk.Image = reader.Execute()
    except RuntimeError as error:
        if "determinant is 0" in str(error):
            raise checks.degenerate(path) from error
        raise checks.unreadable(path, error) from error
    if isinstance(place, Tilt):
        return correct_tilt(path, itk, place, labels=pixel is None)
    set_grid(itk, place)
    return itk


def _registered_reader(path: Path) -> Reader | None:
    """The reader of the longest ending that the name has."""
    endings = [ending for ending in READERS if path.name.lower().endswith(ending)]
    return READERS[max(endings, key=len)] if endings else None


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
    suffix = written_suffix(path)

    def write(temporary: Path) -> None:
        with _decimal_point():
            sitk.WriteImage(itk, str(temporary), useCompression=True)
        # ITK says nothing when a NIfTI file runs into a full disk, a quota or a limit.
        if not completeness.is_whole(temporary, suffix, completeness.bytes_of(itk)):
            raise OSError(errno.ENOSPC, "it came out cut short, as where the disk is full or a quota is reached")

    write_whole(path, write, suffix=suffix)


def written_suffix(path: str | Path) -> str:
    """The ending that says the format to write; raises InputError for one that is unknown or not written."""
    path = output_path(path)
    suffix = checks.known_suffix(path)
    if suffix.lower() in (".mhd", ".nhdr"):
        other = ".mha" if suffix.lower() == ".mhd" else ".nrrd"
        raise SettingError(
            f"{path} would be a header apart from its voxels, which get lost when it is copied: use {other}."
        )
    if suffix != suffix.lower():
        name = path.name.removesuffix(suffix) + suffix.lower()
        raise SettingError(f"{path} has capital letters in its ending, which not every program reads: call it {name}.")
    return suffix
