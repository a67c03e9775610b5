"""ITK's own files of transforms, the matrix of those that are linear, and which matrices are affines."""

import errno
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError
from mics.files.text import number

_TEXT = b"#Insight Transform File"
_HDF5_BYTES, _END_BYTES = 1 << 16, 1 << 12
# What file systems say that keep no room free.
_CANNOT_RESERVE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NUMBERS = ("Parameters", "FixedParameters")


class _Warnings(sitk.LoggerBase):
    """What ITK would write to the standard error; it says there that it takes the first of several transforms."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:
        self.texts.append(text)

    DisplayErrorText = DisplayWarningText = DisplayGenericOutputText = DisplayDebugText = DisplayText


def read_itk_transform(path: Path) -> sitk.Transform:
    """The 3D transform in a file of ITK or ANTs (.tfm, .txt, .mat, .h5), which may be a composite.

    Raises InputError for a file that ITK does not read, a list of several transforms, and one that is not 3D.
    """
    caught = _Warnings()
    before = caught.SetAsGlobalITKLogger()  # type: ignore[no-untyped-call]
    try:
        transform: sitk.Transform = sitk.ReadTransform(str(path))
    except KeyError as error:  # the number of a kind of transform that SimpleITK has no class for
        raise InputError(f"{path} holds a kind of transform that is not read: save it as an affine one.") from error
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter where ITK quotes bytes that are no text
        if _is_plain_matrix(path):
            raise InputError(
                f"{path} holds a bare matrix, and greedy (RAS millimetres) and FLIRT (FSL's scaled voxels) write theirs alike: "
                "convert it for ITK by c3d_affine_tool (-oitk)."
            ) from error
        raise InputError(
            f"{path} is not a transform that ITK can read: give it as ITK or ANTs write it (.tfm, .txt, .mat, .h5)."
        ) from error
    finally:
        before.SetAsGlobalITKLogger()
    if any("more than one transform" in text for text in caught.texts):
        raise InputError(
            f"{path} holds several transforms, and whether and in which order they belong together is not said: give "
            "one, or a composite transform."
        )
    _refuse_other_numbers(path, transform)
    if transform.GetDimension() != 3:
        raise GeometryError(f"{path} holds a {transform.GetDimension()}D transform: give a 3D one.")
    return transform


def write_composite(composite: sitk.CompositeTransform, path: Path) -> None:
    """Write a composite of 3D transforms as .tfm or .h5; raises OSError where there is no room for all of it."""
    last = composite.GetBackTransform()
    if path.suffix == ".h5":
        _reserve(path, sum(8 * composite.GetNthTransform(n).GetNumberOfParameters() for n in range(_count(composite))))
    sitk.WriteTransform(composite, str(path))
    if path.suffix == ".tfm" and not _closes(path, len(last.GetFixedParameters())):
        # ITK says nothing when a text runs into a full disk, a quota or a limit.
        raise OSError(errno.ENOSPC, "it came out cut short, as where the disk is full or a quota is reached")


def _count(composite: sitk.CompositeTransform) -> int:
    count: int = composite.GetNumberOfTransforms()
    return count


def _reserve(path: Path, size: int) -> None:
    """Make sure of room for so many bytes and what HDF5 says of them: without it, HDF5 ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size + _HDF5_BYTES)
            except OSError as error:
                if error.errno not in _CANNOT_RESERVE:
                    raise


def _closes(path: Path, fixed: int) -> bool:
    """Whether ITK's text ends as a whole one does, with so many FixedParameters."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        lines = file.read().split(b"\n")
    name, *numbers = lines[-2].split() if len(lines) > 1 and not lines[-1] else [b""]
    return name == b"FixedParameters:" and len(numbers) == fixed


def _refuse_other_numbers(path: Path, transform: sitk.Transform) -> None:
    """Raise InputError for a text of which ITK leaves numbers aside: odd ones, too many, or all where no FixedParameters are."""
    with path.open("rb") as file:
        if not file.read(len(_TEXT)).startswith(_TEXT):
            return
    kinds, given = 0, Counter[str]()
    numbers: dict[str, int] = {}
    with path.open(encoding="latin-1") as text:
        for line in text:
            name, colon, value = line.partition(":")
            name = name.strip()
            if not colon or name.startswith("#"):
                continue
            kinds += name == "Transform" and "CompositeTransform" not in value
            if name in _NUMBERS:
                given[name] += 1
                numbers[name] = _count_of_numbers(path, name, value)
    for name in _NUMBERS:
        if given[name] != kinds:
            raise InputError(f"{path} has {given[name]} lines {name} for {kinds} transforms: write it again.")
    kind = transform.GetTransformEnum()
    if transform.IsLinear() and kind != sitk.sitkComposite and kinds == 1:
        count = sitk.Transform(transform.GetDimension(), kind).GetNumberOfParameters()
        found = numbers["Parameters"]
        if found != count:
            raise InputError(f"{path} has {found} Parameters, and a transform of its kind has {count}: write it again.")


def _count_of_numbers(path: Path, name: str, value: str) -> int:
    """How many numbers a line holds, a deformation's one by one; raises InputError for what is none."""
    count = 0
    for word in re.finditer(r"\S+", value):
        try:
            number(word[0])
        except ValueError as error:
            raise InputError(
                f"{path} has {word[0][:40]!r} among its {name}, which is no number: write it again."
            ) from error
        count += 1
    return count


def matrix_of(linear: sitk.Transform) -> NDArray[np.float64]:
    """The matrix (4, 4) of a linear transform, in the direction in which it takes points, LPS mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = linear.TransformPoint((0.0, 0.0, 0.0))
    for column, unit in enumerate(np.eye(3).tolist()):
        matrix[:3, column] = np.array(linear.TransformPoint(unit)) - matrix[:3, 3]
    return matrix


def share_beyond(transform: sitk.Transform, points: NDArray[np.float64]) -> float:
    """The share of points (N, 3), LPS mm, beyond the first field or B-spline that they come to, where ITK moves nothing by it."""
    parts = [transform]
    if transform.GetTransformEnum() == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        composite.FlattenTransform()
        parts = [composite.GetNthTransform(n) for n in reversed(range(_count(composite)))]
    for part in parts:
        if not part.IsLinear():
            return float(1 - _is_within(part, points).mean())
        matrix = matrix_of(part)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    return 0.0


def _is_within(deformation: sitk.Transform, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    kind = deformation.GetTransformEnum()
    if kind == sitk.sitkBSplineTransform:
        spline = sitk.BSplineTransform(deformation)
        origin, extent = spline.GetTransformDomainOrigin(), spline.GetTransformDomainPhysicalDimensions()
        direction = spline.GetTransformDomainDirection()
        lower = np.zeros(3)
    elif kind == sitk.sitkDisplacementField:
        field = sitk.DisplacementFieldTransform(deformation).GetDisplacementField()
        origin, direction = field.GetOrigin(), field.GetDirection()
        lower = -np.array(field.GetSpacing()) / 2
        extent = lower + np.array(field.GetSpacing()) * field.GetSize()
    else:
        return np.ones(len(points), bool)
    along = (points - origin) @ np.reshape(direction, (3, 3))
    within: NDArray[np.bool_] = np.all((along >= lower) & (along <= extent), axis=1)
    return within


def refuse_singular(matrix: NDArray[np.float64], name: str) -> None:
    """Raise InputError for an affine (4, 4), called ``name``, that is not finite or as good as not invertible."""
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix[:3, :3]) > 1e4:
        raise GeometryError(f"{name} is not invertible: it squeezes the patient flat.")


def affine_of(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """The affine (4, 4) that an array holds, in LPS millimetres, from points of the fixed scan to points of the moving scan.

    Raises InputError for another shape, for what are no real and finite numbers, for a last row other than 0, 0, 0, 1, and for
    an affine that is not invertible.
    """
    if array.shape != (4, 4) or array.dtype.kind not in "iuf":
        raise InputError(
            f"An affine is an array of 4 x 4 real numbers, not of the shape {array.shape} and the type {array.dtype}."
        )
    matrix = array.astype(np.float64)
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError(
            f"The last row of an affine is 0, 0, 0, 1, not {', '.join(f'{value:g}' for value in matrix[3])}."
        )
    if not np.isfinite(matrix).all():
        raise InputError("The affine holds NaN or infinite values: give finite ones.")
    refuse_singular(matrix, "The affine")
    return matrix


def _is_plain_matrix(path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of comments
            return np.loadtxt(path, max_rows=5).shape == (4, 4)
    except (OSError, ValueError):
        return False
