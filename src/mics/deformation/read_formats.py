"""A transform out of the files of other tools, by the name's ending."""

import re
import warnings
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.deformation.chain import Link, chained
from mics.deformation.itk_transform import matrix_of, read_itk_transform, refuse_singular
from mics.deformation.provenance import Provenance, provenance_path
from mics.deformation.suitability import warn_of_continuation, warn_of_other_units, warn_of_rest
from mics.deformation.transform import Transform
from mics.errors import GeometryError, InputError, MissingFileError, SettingError
from mics.image.checks import orthonormal_grid
from mics.image.grid import Grid
from mics.image.io import grid_of

_ITK = (".h5", ".tfm", ".mat")
_ELASTIX_LINE = re.compile(r"^\s*\((\w+)\s+(.*?)\)\s*(?://.*)?$", re.M)


def read_transform(path: Path, grid: Grid | None = None) -> Link:
    """The transform in a file, in the direction in which it fills an image:

    - .nii.gz, .nii, .nrrd, .mha: a displacement field as ITK, ANTs, greedy and 3D Slicer write it;
    - .h5, .tfm, .mat, .txt of ITK: linear ones as a matrix; any other, composites too, as ITK itself samples it (where a field
      of it is left, ITK moves nothing by that field);
    - .txt of transformix: a ``DeformationFieldTransform``, with its field in the same folder;
    - .x5: an affine or a dense field of nitransforms.

    What the JSON beside it tells comes along.

    Args:
        path: the file, which exists.
        grid: the grid that the result lies on; by default that of the file's own field, and of an affine none.

    Returns a Transform (mm, LPS), or without ``grid`` for what is linear the affine (4, 4) that takes points, LPS mm.

    Raises InputError for what is damaged, of another kind or without a grid of its own where none is given.
    """
    ending = path.suffix.lower()
    if ending == ".x5":
        found = _read_x5(path)
    elif ending in _ITK or (ending == ".txt" and not _is_elastix(path)):
        found = _read_itk(path, grid)
    elif ending == ".txt":
        found = _read_elastix(path)
    else:
        found = Transform.load(path)
    if isinstance(found, Transform):
        found = _with_provenance(found, path)
        warn_of_other_units(found, str(path))
    if grid is None or (isinstance(found, Transform) and found.grid == grid):
        return found
    if isinstance(found, Transform):
        warn_of_continuation(grid, found, str(path))
        return found.resampled(grid)
    return chained([found], grid)


def _with_provenance(transform: Transform, path: Path) -> Transform:
    """The transform with what the JSON beside its file tells; warns where that is of another grid."""
    known = Provenance.load(path) if transform.provenance is None else None
    if known is None:
        return transform
    if transform.grid.is_close(known.scans[known.target].grid):
        return transform.known_as(known)
    warnings.warn(
        f"{provenance_path(path)} is of a transform on another grid than that of {path}: it is passed over, and nothing tells "
        "for which scans the transform is.",
        stacklevel=2,
    )
    return transform


def _read_itk(path: Path, grid: Grid | None) -> Link:
    transform = read_itk_transform(path)
    if transform.IsLinear():
        matrix = matrix_of(transform)
        refuse_singular(matrix, f"The affine in {path}")
        return matrix
    try:
        grid = _own_grid(transform, path) if grid is None else grid
    except GeometryError as error:
        raise (
            error if str(path) in str(error) else GeometryError(f"{path} holds a field on no grid: {error}")
        ) from error
    warn_of_rest(grid, transform, str(path))
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, grid.size, grid.origin, grid.spacing, grid.direction
    )
    return _checked(sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3), grid, path)


def _own_grid(transform: sitk.Transform, path: Path) -> Grid:
    """That of the field that points go through first, which lies over the image that is filled."""
    if transform.GetTransformEnum() == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        composite.FlattenTransform()
        transform = composite.GetBackTransform()
    if transform.GetTransformEnum() != sitk.sitkDisplacementField:
        raise GeometryError(
            f"{path} holds a transform that does not say on which grid it fills an image: write it as a displacement field on "
            "an image's grid, which mics convert takes as a reference."
        )
    return grid_of(sitk.DisplacementFieldTransform(transform).GetDisplacementField())


def _is_elastix(path: Path) -> bool:
    """Whether a text is a list of parameters in brackets; comments aside."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = (line.strip() for line in file)
        first = next((line for line in lines if line and not line.startswith("//")), "")
    return first.startswith("(")


def _read_elastix(path: Path) -> Transform:
    text = path.read_text(encoding="utf-8", errors="replace")
    parameters = {name: value.replace('"', "").strip() for name, value in _ELASTIX_LINE.findall(text)}
    kind = parameters.get("Transform", "no transform")
    initial = next(
        (value for name, value in parameters.items() if re.fullmatch(r"InitialTransformParameters?FileName", name)), ""
    )
    if kind != "DeformationFieldTransform" or initial not in ("", "NoInitialTransform"):
        raise InputError(
            f"{path} holds {kind} of elastix{' after another transform' * (initial not in ('', 'NoInitialTransform'))}: let "
            f"transformix write it as a field (transformix -def all -tp {path.name} -out FOLDER) and give that file."
        )
    name = parameters.get("DeformationFieldFileName", "")
    # A parameter file may name a folder that was another machine's, with either kind of slash.
    field = path.parent / PureWindowsPath(name).name
    if not name or not field.is_file():
        raise MissingFileError(f"The field of {path}, {name or 'DeformationFieldFileName'}, does not lie beside it.")
    return Transform.load(field)


def _read_x5(path: Path) -> Link:
    """HDF5 by the draft of X5 that nitransforms implements (``nitransforms.io.x5``): RAS mm, from reference to moving."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise SettingError("X5 files need h5py: install mics-registration[x5].") from error
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("Format") != "X5":
                raise ValueError("it does not call itself X5")
            nodes = file["TransformGroup"]
            if len(nodes) != 1:
                raise ValueError(f"it holds {len(nodes)} transforms instead of one")
            return _x5_node(nodes[next(iter(nodes))], path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a transform of X5: {error}.") from error


def _x5_node(node: Any, path: Path) -> Link:
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    kind, values = node.attrs["Type"], np.asarray(node["Transform"], dtype=np.float64)
    if kind == "linear" and values.shape == (4, 4):
        matrix: NDArray[np.float64] = to_lps @ values @ to_lps
        refuse_singular(matrix, f"The affine in {path}")
        return matrix
    size = tuple(int(length) for length in np.asarray(node["Domain"]["Size"]).ravel()) if "Domain" in node else ()
    meaning = node.attrs.get("Representation")
    dense = len(size) == 3 and values.shape == (*size, 3)
    if kind != "nonlinear" or not dense or meaning not in ("displacements", "deformations"):
        raise ValueError(
            f"a {kind} transform of {meaning} and shape {values.shape} is neither an affine nor a dense field"
        )
    grid = orthonormal_grid(path, to_lps @ np.asarray(node["Domain"]["Mapping"], dtype=np.float64), size)
    values = values * np.diag(to_lps)[:3]
    return _checked(values - grid.points() if meaning == "deformations" else values, grid, path)


def _checked(displacement: NDArray[np.floating], grid: Grid, path: Path) -> Transform:
    if not np.isfinite(displacement).all():
        raise InputError(f"{path} is not a usable transform: it holds NaN or infinite values.")
    return Transform(np.ascontiguousarray(displacement, dtype=np.float32), grid)
