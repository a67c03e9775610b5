"""What can be wrong with a file that calls itself a volume, each refused in one sentence."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, InsufficientMemoryError, MissingFileError, SettingError
from mics.files.paths import as_path
from mics.files.whole import reason
from mics.image.available import available_host_bytes
from mics.image.content import other_kind
from mics.image.grid import Grid

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# No byte of deflated data stands for more.
MAX_INFLATION = 1032
MAX_PADDING = 1 << 16
"""Bytes with which some programs fill up the last block of what they write."""
# Axes whose unit vectors span less than this volume lie in a plane.
_FLATTEST = 1e-3
LEAST_EDGE_MM = 1e-6
"""Of a voxel. Of less, as of the noise of a damaged header, no number of voxels has an extent."""
# No scanner's table is longer.
_MAX_MM = 3000.0
# No table places a patient further from the origin, and no number of single precision tells a millimetre there.
_FAR_MM, _FARTHEST_MM = 10_000.0, 1e6
# No scanner of the body resolves as much.
_FINEST_MM = 0.1
MAX_WHOLE = 2**53
"""Floating-point numbers, which ITK interpolates with, name the integers up to this one singly."""
MAX_LABELS = 256
"""A volume with more different values is no label map."""

Array = NDArray[np.float64]


def known_suffix(path: Path) -> str:
    """The ending that says the format; raises InputError for one that carries no geometry or is unknown."""
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    raise SettingError(
        f"{path} is not a kind of file that MICS reads or writes: give NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha), "
        "or for reading the folder of a DICOM series."
    )


def has_known_suffix(path: Path) -> bool:
    """Whether the name ends as those of a format do that carries geometry."""
    return path.name.lower().endswith(_SUFFIXES)


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read as what its name says."""
    if (kind := other_kind(path)) is not None:
        what, remedy = kind
        return InputError(f"{path} cannot be read as an image, by its content it is {what}: {remedy}.")
    return InputError(f"{path} cannot be read as an image, it is damaged or of another kind: {reason(error)}.")


def not_finite(path: Path | str, count: int) -> InputError:
    """The error for values that are no number."""
    return InputError(
        f"{path} holds {count} NaN or infinite voxels: replace them, by -1000 HU where a scan has no data."
    )


def refuse_values_of_scans(labels: NDArray[np.integer], name: str) -> None:
    """Raise InputError for a label map, called ``name``, whose integers look like a scan's."""
    if labels.min() < 0:
        raise InputError(f"{name} is not a label map: it holds negative values, down to {labels.min()}.")
    refuse_merging_labels(labels, name)
    if labels.max() < MAX_LABELS:
        return
    found: set[int] = set()
    for plane in labels:
        found.update(np.unique(plane).tolist())
        if len(found) > MAX_LABELS:
            raise InputError(f"{name} is not a label map: it holds more than {MAX_LABELS} different values.")


def one_value(labels: NDArray[np.integer], name: str) -> str | None:
    """A sentence on a label map, called ``name``, that is the same everywhere, of which no score says anything; mostly None."""
    value = int(labels.min())
    if value != labels.max():
        return None
    meaning = "it holds no label" if value == 0 else "its overlap says no more than how the fields of view lie"
    return f"{name} is {value} in every voxel, so {meaning}: is it the right file?"


def refuse_merging_labels(labels: NDArray[np.integer], name: str) -> None:
    """Raise InputError for a label map, called ``name``, with numbers so large that warping would make several of them one."""
    if labels.dtype.kind in "iu" and labels.max() > MAX_WHOLE:
        raise InputError(
            f"{name} has labels up to {labels.max()}, which cannot be told from their neighbours once they are warped: number "
            f"them from 1, or at most up to {MAX_WHOLE}."
        )


def refuse_vanishing_labels(values: NDArray[np.floating], whole: NDArray[np.floating], name: str | Path) -> None:
    """Raise InputError for labels in real numbers of which rounding leaves nothing but 0."""
    if values.any() and not whole.any():
        raise InputError(
            f"{name} is not a label map: its values are all next to 0, from {values.min():.3g} to {values.max():.3g}, as where "
            "labels were scaled or the order of their bytes is another: save it again, with integers."
        )


def warn_of_byte_order(labels: NDArray[np.integer], name: str | Path) -> None:
    """Warn of labels with nothing in any byte but the highest, as small ones have whose bytes were read in the wrong order."""
    lower = (1 << 8 * (labels.dtype.itemsize - 1)) - 1
    if lower and labels.any() and not (labels & labels.dtype.type(lower)).any():
        smallest = int(labels[labels != 0].min())
        warnings.warn(
            f"{name} holds multiples of {lower + 1} alone, such as {smallest}: is the order of its bytes another than its header "
            "says?",
            stacklevel=2,
        )


def warn_of_other_background(labels: NDArray[np.integer], name: str | Path) -> None:
    """Warn of labels of which none is 0, the background, while one of several stands at all corners."""
    corners = labels[np.ix_(*[(0, -1)] * 3)]
    if 0 < labels.min() < labels.max() and corners.min() == corners.max():
        value = int(corners.min())
        warnings.warn(
            f"{name} has no background: 0 is nowhere, and {value} is at all corners and in {np.mean(labels == value):.0%} of its "
            "voxels. Write 0 there, if that is the background.",
            stacklevel=2,
        )


def refuse_other_shapes(path: Path, size: tuple[int, ...], found: int, components: int) -> None:
    """Raise InputError for what is not a 3D volume with ``components`` values a voxel; it has ``found``."""
    if len(size) > 3 and components > 1:
        raise GeometryError(
            f"{path} is {len(size)}D (size {size}): a displacement field in NIfTI has its three values, LPS mm, along the fifth "
            "axis (X, Y, Z, 1, 3)."
        )
    if len(size) > 3:
        raise GeometryError(f"{path} is {len(size)}D (size {size}): give one 3D volume of it.")
    if len(size) < 3 or min(size) < 2:
        raise GeometryError(f"{path} is 2D (size {size}): give a 3D volume.")
    if components == 1 < found and path.name.lower().endswith(".seg.nrrd"):
        raise InputError(
            f"{path} holds segments that overlap, in {found} layers, and a label map has one label a voxel: export them as a "
            "label map, or one by one."
        )
    if found != components:
        kind = "scan or label map" if components == 1 else "displacement field"
        raise InputError(
            f"{path} is not a {kind}: it has {found} value{'s' * (found > 1)} per voxel instead of {components}."
        )


def no_orientation(path: Path | str) -> InputError:
    """The error for a header that does not say how the volume lies."""
    return GeometryError(
        f"{path} has no orientation in its header, so left and right cannot be told apart: "
        "convert it from DICOM again, or write the direction into the header if you know it."
    )


def warn_of_odd_lengths(path: Path | str, grid: Grid) -> None:
    """Warn of a volume longer than any patient, or finer than any scanner's, as where lengths are not in millimetres."""
    longest = max(size * spacing for size, spacing in zip(grid.size, grid.spacing, strict=True))
    steps = " x ".join(f"{spacing:g}" for spacing in grid.spacing)
    if min(grid.spacing) < _FINEST_MM:
        warnings.warn(
            f"{path} has voxels of {steps} mm, finer than any CT of the body: are the lengths in its header millimetres?",
            stacklevel=2,
        )
    if longest > _MAX_MM:
        warnings.warn(
            f"{path} is {longest / 1000:.1f} m long (voxels of {steps} mm): are the lengths in its header millimetres?",
            stacklevel=2,
        )


def check_place(path: Path | str, grid: Grid) -> None:
    """Raise InputError for a volume that lies where no patient can; warn of one further from the origin than a scanner has it."""
    farthest = float(np.abs(grid.origin).max())
    place = f"{path} has its first voxel at LPS {' '.join(f'{value:g}' for value in grid.origin)} mm"
    if farthest > _FARTHEST_MM:
        raise GeometryError(f"{place}, where no patient lies: convert it from DICOM again.")
    if farthest > _FAR_MM:
        warnings.warn(
            f"{place}, {farthest / 1000:.0f} m from the origin: are the lengths in its header millimetres?",
            stacklevel=2,
        )


def degenerate(path: Path | str) -> InputError:
    """The error for a header whose axes do not span the space, or whose voxels have no extent."""
    return GeometryError(f"{path} has a degenerate direction or voxel size in its header: convert it from DICOM again.")


def is_valid_affine(matrix: Array) -> bool:
    """Whether a map (4, 4) from voxel to world is finite, its voxels have an extent and its axes span the space."""
    if not np.isfinite(matrix).all():
        return False
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(lengths.min() > LEAST_EDGE_MM and abs(np.linalg.det(matrix[:3, :3] / lengths)) > _FLATTEST)


def orthonormal_grid(path: Path | str, matrix: Array, size: tuple[int, ...]) -> Grid:
    """The grid of a header's map (4, 4) from voxel to LPS mm, its axes replaced by the nearest orthonormal ones.

    Rounding in other tools' headers is corrected so. Raises InputError where a voxel would move by more than half the
    smallest spacing, as the volume is then really sheared (a tilted gantry), and where the axes do not span the space.
    """
    if not is_valid_affine(matrix):
        raise degenerate(path)
    grid, shift = _nearest(matrix, size)
    if shift > min(grid.spacing) / 2:
        raise GeometryError(
            f"{path} is sheared (its axes are not at right angles, by up to {shift:.1f} mm): resample it to a straight grid "
            "first."
        )
    return grid


def is_sheared(matrix: Array, size: tuple[int, ...]) -> bool:
    """Whether :func:`orthonormal_grid` would refuse a map whose axes span the space."""
    grid, shift = _nearest(matrix, size)
    return shift > min(grid.spacing) / 2


def _nearest(matrix: Array, size: tuple[int, ...]) -> tuple[Grid, float]:
    """The nearest grid with axes at right angles, and by how many mm a voxel of it is elsewhere."""
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    axes = left @ right
    middle = (np.array(size) - 1) / 2
    origin = matrix[:3, :3] @ middle + matrix[:3, 3] - (axes * spacing) @ middle
    grid = Grid((size[0], size[1], size[2]), (*spacing.tolist(),), (*origin.tolist(),), tuple(axes.ravel().tolist()))
    error = matrix - grid.matrix
    corners = grid.world_to_voxel(grid.corners())
    shift = np.linalg.norm(corners @ error[:3, :3].T + error[:3, 3], axis=1).max()
    return grid, float(shift)


def refuse_unreadable_name(path: Path) -> None:
    """Raise InputError for a name that :func:`as_path` refuses, and for what is no file or folder."""
    as_path(path)
    if not path.exists():
        if path.is_symlink():
            raise InputError(f"{path} is a link to {path.readlink()}, which leads to no file: give the file itself.")
        raise MissingFileError(f"{path} does not exist.")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device: write what it gives into a file and give that.")


def refuse_larger_than_memory(path: Path, size: int) -> None:
    """Raise InputError where ``size`` bytes of voxels, and a copy for SimpleITK, are more than the memory that is left.

    A few megabytes of compressed data can promise, and hold, more than any machine has.
    """
    left = available_host_bytes()
    if left is not None and 2 * size > left:
        raise InsufficientMemoryError(
            f"{path} unpacks to {size / 1e9:.1f} GB of voxels, and {left / 1e9:.1f} GB of memory are left for two copies of "
            "them: give a part of it, or use a larger machine."
        )


def refuse_left_over(path: Path, after: bytes, promised: int) -> None:
    """Raise InputError where more than what fills up a block or a line follows the voxels: then size or type are others.

    ``after``: what follows, at least one byte more of it than :data:`MAX_PADDING`, as far as there is so much.
    """
    if len(after) > MAX_PADDING or after.strip(b"\0\r\n "):
        raise InputError(
            f"{path} contradicts itself: it goes on after the {promised} bytes of voxels that its header promises, so its size "
            "or its type of values is wrong there: convert it again."
        )


def unpacks_to_more(path: Path, promised: int) -> InputError:
    """The error for compressed data that hold more than their header says."""
    return InputError(
        f"{path} is damaged: its compressed data unpack to more than the {promised} bytes of voxels that its header promises."
    )
