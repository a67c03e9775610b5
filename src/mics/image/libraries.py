"""Volumes as other libraries hold them: SimpleITK, nibabel, ANTs, MONAI, TorchIO, and numpy with a Grid.

Each kind is recognised by the module of its type, so that no library is imported that is not used. Volumes are (X, Y, Z) in the
file's order everywhere but in SimpleITK's arrays; nibabel, TorchIO and, unless its metadata say LPS, MONAI place them in RAS
millimetres, ITK and ANTs in LPS.
"""

import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, SettingError, shown
from mics.image import checks, nifti
from mics.image.grid import Grid
from mics.image.io import Image, from_itk, smallest
from mics.image.slice_stack import correct_tilt, tilt_of

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""


def as_image(volume: Any, name: str, *, labels: bool | None = None) -> Image | None:
    """The volume of an object that a library made, or of ``(array, grid)``; None for an object of another kind.

    Slices of a tilted gantry are put straight, with a warning, where it is known whether their values are labels.

    Args:
        volume: a ``SimpleITK.Image``, a nibabel image, an ``ants`` image, a MONAI ``MetaTensor`` or a TorchIO ``Image``, each of
            one 3D volume (a single channel may lead, where the library has channels), or a numpy array (X, Y, Z) with its
            :class:`Grid`.
        name: what a sentence calls it.
        labels: whether it is a label map, which is not interpolated; None where that is not known.

    Returns:
        A copy, (X, Y, Z), in the type of its values, on a :class:`Grid` in LPS mm.

    Raises:
        InputError: for more channels, batches, series over time and fields, and for a place that is missing or sheared.
    """
    if isinstance(volume, Image):
        return volume
    if isinstance(volume, tuple) and len(volume) == 2 and isinstance(volume[1], Grid):
        return Image(*volume)
    modules = [base.__module__ for base in type(volume).__mro__]
    for module, read in _READERS.items():
        if any(own == module or own.startswith(f"{module}.") for own in modules):
            try:
                return read(volume, name, labels)
            except AttributeError:  # something of that library that is no volume
                return None
            except (OSError, EOFError, zlib.error) as error:  # of a library that reads when it is asked
                raise InputError(f"{name} cannot be read ({error}): give a whole file.") from error
    return None


def given_image(volume: Any, name: str) -> Image:
    """:func:`as_image`, refusing an object of another kind; raises InputError."""
    image = as_image(volume, name)
    if image is None:
        raise SettingError(
            f"{name} is a volume of SimpleITK, nibabel, ANTs, MONAI or TorchIO, or an array with its Grid, not {shown(volume)}."
        )
    return image


def to_nibabel(image: Image) -> Any:
    """The volume as a ``nibabel.Nifti1Image``, its affine in RAS mm; 64-bit integers in the smallest type that holds them."""
    import nibabel

    wide = image.array.dtype.kind in "iu" and image.array.dtype.itemsize == 8
    volume = nibabel.Nifti1Image(_known_to_nifti(smallest(image).array if wide else image.array), _ras(image.grid))
    volume.header.set_xyzt_units("mm")
    volume.set_sform(_ras(image.grid), 1)
    volume.set_qform(_ras(image.grid), 1)
    return volume


def to_ants(image: Image) -> Any:
    """The volume as an ``ants.ANTsImage`` of uint8, uint32, float32 or float64, whichever holds the values first."""
    import ants

    grid, array = image.grid, image.array
    return ants.from_numpy(
        _known_to_ants(array),
        origin=list(grid.origin),
        spacing=list(grid.spacing),
        direction=np.array(grid.direction).reshape(3, 3),
    )


def to_monai(image: Image) -> Any:
    """The volume as a MONAI ``MetaTensor``, (1, X, Y, Z), its affine in RAS mm; needs MONAI."""
    import torch

    monai = _library("monai.data", "MONAI", "monai")
    return monai.MetaTensor(torch.from_numpy(_known_to_torch(image.array)[None]), affine=torch.tensor(_ras(image.grid)))


def to_torchio(image: Image, *, labels: bool = False) -> Any:
    """The volume as a TorchIO ``ScalarImage``, of ``labels`` a ``LabelMap``, (1, X, Y, Z), affine in RAS mm; needs TorchIO."""
    import torch

    torchio = _library("torchio", "TorchIO", "torchio")
    kind = torchio.LabelMap if labels else torchio.ScalarImage
    return kind(tensor=torch.from_numpy(_known_to_torch(image.array)[None]), affine=_ras(image.grid))


def _library(module: str, title: str, package: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise SettingError(
            f"{title} is not installed: install {package}, or ask for another kind of volume."
        ) from error


def _from_sitk(volume: Any, name: str, labels: bool | None) -> Image:
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise _not_one(name, (*volume.GetSize(), volume.GetNumberOfComponentsPerPixel()))
    matrix = _matrix(volume.GetDirection(), volume.GetSpacing(), volume.GetOrigin())
    if not checks.is_sheared(matrix, volume.GetSize()):
        return from_itk(volume)  # whose grid is exactly its own
    return _in_lps(sitk.GetArrayFromImage(volume).transpose(2, 1, 0), matrix, name, labels)


def _from_nibabel(volume: Any, name: str, labels: bool | None) -> Image:
    if volume.affine is None:
        raise GeometryError(f"{name} has no affine, so its place is not known: give it one.")
    image = _with_affine(np.asanyarray(volume.dataobj), np.asarray(volume.affine), name, labels, channel=3)
    _refuse_assumed_geometry(volume, name)
    return image


def _refuse_assumed_geometry(volume: Any, name: str) -> None:
    """Raise InputError where nibabel made the affine up, or took one of two that contradict each other, or left out its unit."""
    import nibabel

    header = volume.header
    # Every format with a header of Analyze's; those of others always have a place.
    if not isinstance(header, nibabel.AnalyzeHeader) or not np.allclose(volume.affine, header.get_best_affine()):
        return
    if isinstance(header, nibabel.Nifti1Header):
        size = header.get_data_shape()[:3]
        if nifti.tilt(name, header, size) is None:
            nifti.place(name, header, size)
    elif np.allclose(volume.affine, header.get_base_affine()):
        raise checks.no_orientation(name)


def _from_ants(volume: Any, name: str, labels: bool | None) -> Image:
    if volume.dimension != 3 or volume.has_components:
        raise _not_one(name, volume.shape)
    matrix = _matrix(volume.direction, volume.spacing, volume.origin)
    if not checks.is_sheared(matrix, volume.shape):
        direction = np.asarray(volume.direction, dtype=float).ravel()
        return Image(volume.numpy(), Grid(volume.shape, volume.spacing, volume.origin, tuple(direction.tolist())))
    return _in_lps(volume.numpy(), matrix, name, labels)


def _from_monai(volume: Any, name: str, labels: bool | None) -> Image:
    matrix = np.asarray(volume.affine.detach().cpu(), dtype=float)
    # The space is an enumeration of strings; without one, MONAI means RAS.
    space = str(getattr(volume.meta.get("space"), "value", volume.meta.get("space") or "RAS"))
    if space not in ("RAS", "LPS"):
        raise GeometryError(f"{name} is placed in {space!r}: give a MetaTensor in RAS or LPS.")
    return _with_affine(
        _of_torch(volume.as_tensor()), matrix if space == "RAS" else _RAS_TO_LPS @ matrix, name, labels, channel=0
    )


def _from_torchio(volume: Any, name: str, labels: bool | None) -> Image:
    return _with_affine(_of_torch(volume.data), np.asarray(volume.affine, dtype=float), name, labels, channel=0)


_READERS: dict[str, Callable[[Any, str, bool | None], Image]] = {
    "SimpleITK": _from_sitk,
    "nibabel": _from_nibabel,
    "ants": _from_ants,
    "monai": _from_monai,
    "torchio": _from_torchio,
}
"""By the package of the type."""


def _of_torch(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)  # which numpy does not have


def _with_affine(
    array: NDArray[Any], ras: NDArray[np.float64], name: str, labels: bool | None, *, channel: int
) -> Image:
    """An array, where it has four axes the one of ``channel`` of length 1, with an affine (4, 4) from voxels to RAS mm."""
    if array.ndim == 4 and array.shape[channel] == 1:
        array = array.squeeze(channel)
    if array.ndim != 3:
        raise _not_one(name, array.shape)
    if ras.shape != (4, 4):
        raise GeometryError(f"{name} has an affine of the shape {ras.shape}: give it one of (4, 4), in mm.")
    return _in_lps(array, _RAS_TO_LPS @ ras, name, labels)


def _matrix(direction: Any, spacing: Any, origin: Any) -> NDArray[np.float64]:
    """The map (4, 4) from voxel to world of ITK's and ANTs' volumes."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(direction, dtype=float).reshape(3, 3) * spacing
    matrix[:3, 3] = origin
    return matrix


def _in_lps(array: NDArray[Any], matrix: NDArray[np.float64], name: str, labels: bool | None) -> Image:
    """An array with its map (4, 4) from voxel to LPS mm; put straight if that is of a tilted gantry and ``labels`` is known."""
    sheared = checks.is_valid_affine(matrix) and checks.is_sheared(matrix, array.shape)
    tilt = tilt_of(matrix, array.shape) if sheared and labels is not None else None
    if tilt is None:
        return Image(np.array(array), checks.orthonormal_grid(name, matrix, array.shape))
    volume = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    return from_itk(correct_tilt(name, volume, tilt, labels=bool(labels)))


def _not_one(name: str, shape: Sequence[int]) -> InputError:
    size = "x".join(str(length) for length in shape)
    return GeometryError(f"{name} is not one 3D volume of one value a voxel (its shape is {size}): give one of it.")


def _ras(grid: Grid) -> NDArray[np.float64]:
    """The affine (4, 4) from voxels to RAS mm."""
    return np.asarray(_RAS_TO_LPS @ grid.matrix)


def _known_to_nifti(array: NDArray[Any]) -> NDArray[Any]:
    """In a type that NIfTI has: truth values as 0 and 1, float16 as float32; a copy."""
    kind = {"b": np.uint8, "f2": np.float32}.get(array.dtype.kind if array.dtype.kind == "b" else array.dtype.str[1:])
    return np.array(array, dtype=kind)


def _known_to_ants(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return np.array(array, dtype=np.float32 if array.dtype.itemsize <= 4 else np.float64)
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= np.iinfo(np.uint32).max:
        return np.array(array, dtype=np.uint8 if high <= np.iinfo(np.uint8).max else np.uint32)
    # Single precision holds every whole number up to 2 to the 24th.
    return np.array(array, dtype=np.float32 if max(-low, high) <= 1 << 24 else np.float64)


def _known_to_torch(array: NDArray[Any]) -> NDArray[Any]:
    """In a type that every torch has, in this machine's byte order; a copy."""
    wider = {"u2": np.int32, "u4": np.int64, "u8": np.int64}.get(array.dtype.str[1:])
    return np.array(array, dtype=array.dtype.newbyteorder("=") if wider is None else wider)
