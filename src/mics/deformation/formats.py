"""A transform in the files of other tools, by the name's ending."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.deformation.chain import chained
from mics.deformation.itk_transform import write_composite
from mics.deformation.provenance import provenance_path
from mics.deformation.transform import Transform
from mics.errors import InputError, SettingError
from mics.files.paths import output_path
from mics.files.whole import write_text, write_whole
from mics.image.io import set_grid, write_itk
from mics.image.resample import itk_affine

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".h5", ".tfm", ".txt", ".x5")
_AFFINE = "affine_fixed_to_moving_lps_mm"


def known_ending(path: Path) -> str:
    """The ending that says the format; raises InputError for one that is unknown."""
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return ending
    raise InputError(f"{path} is no format of transforms that is written: choose one of {', '.join(ENDINGS)}.")


def files_of(path: Path) -> tuple[Path, ...]:
    """What :func:`write_transform` writes for this name: for elastix a file and its field, and what is known of it.

    Raises InputError for a name that says no format, and one that the format cannot hold.
    """
    files = (path, _elastix_field(path)) if known_ending(path) == ".txt" else (path,)
    if len(files) > 1 and set(path.name) & set('"\r\n'):
        raise SettingError(
            f"{path} cannot be named in a parameter file of transformix: leave quotation marks and line breaks out of the name."
        )
    return (*files, provenance_path(files[-1]))


def write_transform(transform: Transform, path: str | Path) -> None:
    """Write a transform as another tool reads it, unrounded float32 mm:

    - .nii.gz, .nii, .nrrd, .mha: ITK's displacement field, for ANTs, greedy and 3D Slicer too;
    - .h5, .tfm: ITK's composite of the displacement and, where it is known, the affine after it on points, which goes on
      beyond the grid;
    - .txt: transformix' parameter file, and beside it the field that it names, ``<name>_field.mha``;
    - .x5: a dense displacement as nitransforms has it, RAS mm; needs h5py.

    What is known of the transform lies beside the file, for elastix beside the field, see
    :meth:`mics.deformation.transform.Transform.save`. A file appears complete or not at all.

    Raises InputError for another ending, without h5py, and if it cannot be written.
    """
    path = output_path(path)
    files_of(path)
    ending = known_ending(path)
    writers: dict[str, Callable[[Transform, Path], None]] = {
        ".h5": _write_composite,
        ".tfm": _write_composite,
        ".txt": _write_elastix,
        ".x5": _write_x5,
    }
    writers.get(ending, _write_field)(transform, path)
    if transform.provenance is not None:
        transform.provenance.save(_elastix_field(path) if ending == ".txt" else path)


def _write_field(transform: Transform, path: Path) -> None:
    write_itk(_field(transform, np.float32), path)


def _field(transform: Transform, dtype: type[np.floating[Any]]) -> sitk.Image:
    """ITK's displacement field, its values in (Z, Y, X) order."""
    values = np.ascontiguousarray(transform.displacement_mm.transpose(2, 1, 0, 3), dtype=dtype)
    field = sitk.GetImageFromArray(values, isVector=True)
    set_grid(field, transform.grid)
    return field


def _write_composite(transform: Transform, path: Path) -> None:
    affine = _affine(transform)
    composite = sitk.CompositeTransform(3)
    if affine is not None:
        # What is left of the transform if the affine moves points after it.
        transform = chained([np.linalg.inv(affine).astype(np.float64), transform])
        composite.AddTransform(itk_affine(affine))
    # ITK takes a point through the last one first.
    composite.AddTransform(sitk.DisplacementFieldTransform(_field(transform, np.float64)))
    write_whole(path, partial(write_composite, composite))


def _affine(transform: Transform) -> NDArray[np.float64] | None:
    """The affine (4, 4) that a transform is known to contain, in the direction of its points; None where nothing is known."""
    known = transform.provenance
    if known is None or _AFFINE not in known.made:
        return None
    try:
        affine = np.array(known.made[_AFFINE], dtype=np.float64)
    except (TypeError, ValueError):  # somebody has changed the file beside the transform
        return None
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-6:
        return None
    return affine if known.target == "fixed" else np.linalg.inv(affine).astype(np.float64)


def _elastix_field(path: Path) -> Path:
    return path.with_name(f"{path.stem}_field.mha")


def _write_elastix(transform: Transform, path: Path) -> None:
    """The field first: a parameter file is never without it. It is named without its folder, which would be this machine's."""
    grid, field = transform.grid, _elastix_field(path)
    write_itk(_field(transform, np.float32), field)
    lines: dict[str, str | Sequence[float]] = {
        "Transform": "DeformationFieldTransform",
        "NumberOfParameters": (0,),
        "InitialTransformParameterFileName": "NoInitialTransform",
        "HowToCombineTransforms": "Compose",
        "FixedImageDimension": (3,),
        "MovingImageDimension": (3,),
        "FixedInternalImagePixelType": "float",
        "MovingInternalImagePixelType": "float",
        "Size": grid.size,
        "Index": (0, 0, 0),
        "Spacing": grid.spacing,
        "Origin": grid.origin,
        "Direction": np.reshape(grid.direction, (3, 3)).T.ravel().tolist(),  # elastix goes column by column
        "UseDirectionCosines": "true",
        "DeformationFieldFileName": field.name,
        "DeformationFieldInterpolationOrder": (1,),
        "ResampleInterpolator": "FinalLinearInterpolator",
        "Resampler": "DefaultResampler",
        "DefaultPixelValue": (-1000,),
        "ResultImageFormat": "mha",
        "ResultImagePixelType": "float",
        "CompressResultImage": "true",
    }
    text = "".join(f"({name} {_elastix_value(value)})\n" for name, value in lines.items())
    try:
        write_text(text, path)
    except InputError:
        field.unlink()
        raise


def _elastix_value(value: str | Sequence[float]) -> str:
    return f'"{value}"' if isinstance(value, str) else " ".join(f"{number!r}" for number in value)


def _write_x5(transform: Transform, path: Path) -> None:
    """HDF5 by the draft of X5 that nitransforms implements (``nitransforms.io.x5``)."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise SettingError("X5 files need h5py: install mics-registration[x5].") from error
    to_ras = np.array([-1.0, -1.0, 1.0])

    def write(temporary: Path) -> None:
        try:
            write_nodes(temporary)
        except OSError as error:  # HDF5's own words name places in its memory
            raise (OSError(error.errno, os.strerror(error.errno)) if error.errno else error) from error

    def write_nodes(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["Format"], file.attrs["Version"] = "X5", np.uint16(1)
            node = file.create_group("TransformGroup/0")
            node.attrs.update(
                Type="nonlinear", SubType="densefield", Representation="displacements", ArrayLength=1, Metadata="{}"
            )
            node["Transform"] = transform.displacement_mm * to_ras.astype(np.float32)
            node["DimensionKinds"] = np.array(["space", "space", "space", "vector"], dtype="S")
            domain = node.create_group("Domain")
            domain["Grid"], domain["Size"] = np.uint8(1), np.array(transform.grid.size)
            domain["Mapping"] = np.diag([*to_ras, 1.0]) @ transform.grid.matrix
            domain.attrs["Coordinates"] = "cartesian"

    write_whole(path, write)
