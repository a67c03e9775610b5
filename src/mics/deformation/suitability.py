"""Is what a transform is applied to the thing that it is for? Refused where it surely is not, a warning where it may not be."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.deformation.chain import Link
from mics.deformation.itk_transform import share_beyond
from mics.deformation.provenance import Provenance
from mics.deformation.transform import Transform
from mics.errors import GeometryError, InputError, some_of
from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.lattice import is_part_of

_FEW_VALUES = 150
"""More than anybody's label map of the body has, fewer than the grey values of an image."""
_MAX_SAMPLES = 1 << 20  # voxels: enough to tell what kind of volume it is
_APART_MM = 4.0
_AIR_IN_VIEW_HU = -300.0
_MAX_SAMPLES_ALONG_AXIS = 32  # voxels along each axis
# A field that is stored coarsely ends up to half a voxel before the scan does.
_MAX_BEYOND = 0.05
# Less is below what any registration resolves, metres taken for millimetres; more is longer than any scanner's table.
_SHORTEST_MM, _MAX_MM = 0.1, 3000.0
_DIRECTIONS = (("moving", "fixed"), ("fixed", "moving"))


def check_scan(image: Image, known: Provenance, source: Path, name: str) -> None:
    """Raise InputError where ``image`` is the scan that the transform fills; warn where only its grid says so, or nothing.

    A part of the scan's grid, and a grid whose axes run otherwise, are the scan's.
    """
    own, other = known.scans[known.source], known.scans[known.target]
    if other.is_scan(image) and not own.is_scan(image):
        raise InputError(
            f"{source} is the {known.target} scan, and {name} takes the {known.source} one: take {known.opposite_name}."
        )
    if is_part_of(image.grid, own.grid):
        return
    if is_part_of(image.grid, other.grid):
        place = (
            f"on the grid of the {known.target} scan, and {name} takes images of the {known.source} one: if it is of the "
            f"{known.target} patient or day, take {known.opposite_name}."
        )
    else:
        place = (
            f"on the grid of neither scan that {name} was made from: it is right only if it was taken together with the "
            f"{known.source} scan."
        )
    warnings.warn(f"{source} lies {place}", stacklevel=2)


def require_in_view(grid: Grid, transform: Transform, source: Path, name: str) -> None:
    """Raise InputError where no voxel of ``transform`` is filled from ``grid``."""
    # Thinned first, as nearly all inputs are seen so; a small one may slip through the samples.
    steps = [max(1, int(_APART_MM / spacing)) for spacing in transform.grid.spacing]
    last = np.array(grid.size).reshape(3, 1, 1, 1) - 0.5
    for part in (transform.subsampled(steps), transform):
        sources = part.sources(grid)
        if ((sources >= -0.5) & (sources <= last)).all(axis=0).any():
            return
    known = transform.provenance
    named = [direction for direction in _DIRECTIONS if "_to_".join(direction) in name]
    directions = named if known is None else [(known.source, known.target)]
    remedy = (
        f"it takes the {directions[0][0]} scan; for the other take transform_{directions[0][1]}_to_{directions[0][0]}."
        if len(directions) == 1
        else "is it the opposite direction's, or of another pair of scans?"
    )
    raise GeometryError(f"Nothing of {source} comes into view by {name}: {remedy}")


def warn_of_continuation(grid: Grid, transform: Transform, name: str) -> None:
    """Warn where a grid to fill reaches beyond that of ``transform``, as nothing is known of how it goes on there."""
    beyond = 1 - _within(_some_points(grid), transform.grid).mean()
    if beyond > _MAX_BEYOND:
        warnings.warn(
            f"{beyond:.0%} of the grid to fill lie outside that of {name}, and are moved like the nearest place on its border: "
            "is the reference the scan that it fills?",
            stacklevel=2,
        )


def warn_of_rest(grid: Grid, transform: sitk.Transform, name: str) -> None:
    """Warn where a grid to fill reaches beyond the first deformation of ITK's, which moves nothing there."""
    beyond = share_beyond(transform, _some_points(grid))
    if beyond > _MAX_BEYOND:
        warnings.warn(
            f"{beyond:.0%} of the grid to fill lie beyond the deformation in {name}, where ITK moves nothing by it: is the "
            "reference the scan that it fills?",
            stacklevel=2,
        )


def warn_of_other_units(transform: Transform, name: str) -> None:
    """Warn where a transform of another tool moves nothing, or by lengths that no registration of a patient has in mm.

    Those of MICS, whose provenance is known, are in mm, and small ones right, as of a scan registered to itself.
    """
    if transform.provenance is not None:
        return
    farthest = max(-float(transform.displacement_mm.min()), float(transform.displacement_mm.max()))
    if farthest == 0:
        warnings.warn(f"{name} moves nothing: its displacements are 0 everywhere.", stacklevel=2)
    elif not _SHORTEST_MM <= farthest <= _MAX_MM:
        warnings.warn(
            f"{name} moves by {farthest:.2g} mm at most along an axis: are its displacements millimetres?", stacklevel=2
        )


def warn_of_labels(image: Image, source: Path) -> None:
    """Warn where an image holds few whole numbers and none below 0, as a label map does."""
    values = image.array.ravel(order="K")
    some = np.unique(values[:: max(1, values.size // _MAX_SAMPLES)])
    if some.size <= _FEW_VALUES and some[0] >= 0 and np.array_equal(some, np.rint(some)):
        warnings.warn(
            f"{source} looks like a label map (whole numbers, {some.size} different ones), and its values are mixed "
            "where they meet: if it is one, use `labels`.",
            stacklevel=2,
        )


def warn_of_lost_names(segments: Mapping[str, str], source: Path, output: Path) -> None:
    """Warn where a label map has names of segments that the file to write has no room for."""
    if any(key.endswith("_Name") for key in segments) and output.suffix.lower() != ".nrrd":
        warnings.warn(
            f"{source} names its segments, and {output} has no room for names: write a .seg.nrrd to keep them.",
            stacklevel=2,
        )


def warn_of_guess(image: Image, warped: Image, outside: float, source: Path) -> None:
    """Warn where an image without any air was filled with air's HU, as it may be the difference of two images and no CT."""
    low = float(image.array.min())
    if outside == AIR_HU and low > _AIR_IN_VIEW_HU and np.any(warped.array == outside):
        warnings.warn(
            f"{source} was taken for CT by its lowest value, {low:g}, and is {outside:g} where it has no data: for another kind "
            "of image say `outside`.",
            stacklevel=2,
        )


def warn_of_emptiness(warped: Image, outside: float, source: Path, name: str) -> None:
    """Warn where nothing but the value outside is left of an image that has more, as where scans touch by a border alone."""
    if np.all(warped.array == outside):
        warnings.warn(
            f"{source} warped by {name} holds nothing but {outside:g}: are its header's directions and origin right, and is the "
            "transform of this scan?",
            stacklevel=2,
        )


def warn_of_points_outside(points: NDArray[Any], transform: Transform, source: Path, name: str) -> None:
    """Warn where points lie outside the grid that ``transform`` fills, and by which file they would lie within."""
    outside = ~_within(points, transform.grid)
    number = int(np.count_nonzero(outside))
    if not number:
        return
    known = transform.provenance
    if known is not None and _within(points, known.scans[known.source].grid).all():
        remedy = (
            f"as all lie within the {known.source} scan, take {known.opposite_name} to bring its landmarks to the "
            f"{known.target} one."
        )
    else:
        remedy = "are they LPS millimetres, and of the scan that it fills?"
    warnings.warn(
        f"{some_of(number, len(points), 'point')} of {source} {'lies' if number == 1 else 'lie'} outside the grid of {name}, and "
        f"{'is' if number == 1 else 'are'} moved like the nearest point on its border: {remedy}",
        stacklevel=2,
    )


def warn_of_order(links: Sequence[Link], names: Sequence[str]) -> None:
    """Warn where a transform of a chain is known to take another scan than the one that the transform before it fills."""
    known = [link.provenance if isinstance(link, Transform) else None for link in links]
    for number in range(1, len(links)):
        before, after = known[number - 1 : number + 1]
        if before is None or after is None:
            continue
        filled, taken = before.scans[before.target], after.scans[after.source]
        if filled.voxels_sha256 != taken.voxels_sha256:
            warnings.warn(
                f"{names[number - 1]} brings images onto the {before.target} scan of its pair, and {names[number]} takes "
                "another scan: give the transforms in the order in which the image goes through them.",
                stacklevel=2,
            )


def _some_points(grid: Grid) -> NDArray[np.float64]:
    """Points (N, 3) all over a grid, LPS mm."""
    steps = [max(1, length // _MAX_SAMPLES_ALONG_AXIS) for length in grid.size]
    voxels = np.mgrid[tuple(slice(0, length, step) for length, step in zip(grid.size, steps, strict=True))]
    return grid.voxel_to_world(voxels.reshape(3, -1).T)


def _within(points: NDArray[Any], grid: Grid) -> NDArray[np.bool_]:
    """Which points (N, 3) lie within the voxels of ``grid``."""
    voxels = grid.world_to_voxel(points)
    within: NDArray[np.bool_] = np.all((voxels >= -0.5) & (voxels <= np.array(grid.size) - 0.5), axis=1)
    return within
