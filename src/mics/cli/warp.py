"""`mics warp`: apply a transform to an image, a label map or landmarks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mics.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mics.deformation.transform import Transform
    from mics.image.grid import Grid
    from mics.image.io import Image

_FAT_HU = -50.0
"""Every CT has fat or air below it; a dose, PET, MR or normalised image has nothing so low."""
_FEW_VALUES = 150
"""More than anybody's label map of the body has, fewer than the grey values of an image."""
_LOOKED_AT = 1 << 20  # voxels: enough to tell what kind of volume it is
_APART_MM = 4.0


def warp(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="Image, label map (with --labels), or points (.csv, .fcsv, .mrk.json)."),
    ],
    transform: Annotated[
        Path, typer.Argument(help="transform_moving_to_fixed.nii.gz or transform_fixed_to_moving.nii.gz.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; its name chooses the format.")],
    labels: Annotated[
        bool, typer.Option("--labels", help="INPUT is a label map: nearest neighbour, background outside.")
    ] = False,
    outside: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE", help="Value where INPUT has no data; by default -1000 for CT and 0 for any other image."
        ),
    ] = None,
) -> None:
    """Apply a transform to INPUT.

    Images and label maps go the way the file is named: transform_moving_to_fixed brings the MOVING image onto the
    FIXED grid. Points (LPS mm) go the other way: the same file brings landmarks of the FIXED scan to their place in the
    MOVING one.
    """
    if output.exists():
        raise InputError(f"{output} exists already; choose another name, so that nothing is overwritten.")
    from mics.deformation.transform import Transform
    from mics.image.io import read_image, read_labels, write_image, write_labels, written_suffix
    from mics.image.points import Points, is_points, read_points, write_points

    if outside is not None and (labels or is_points(source)):
        raise InputError("--outside is for images: a label map has background, 0, outside, and points have no outside.")
    if is_points(source):
        points, mapping = read_points(source), Transform.load(transform)
        _warn_of_points_outside(points.coordinates, mapping, source, transform)
        write_points(Points(mapping.transform_points(points.coordinates), points.names), output)
        return
    written_suffix(output)  # before the work
    if labels:
        label_map, mapping = read_labels(source), Transform.load(transform)
        _require_in_view(label_map.grid, mapping, source, transform)
        write_labels(mapping.transform_labels(label_map), output)
        return
    image = read_image(source)  # other images than CT are welcome here
    mapping = Transform.load(transform)
    _require_in_view(image.grid, mapping, source, transform)
    _warn_of_labels(image, source)
    value = outside if outside is not None else _outside_of(image)
    write_image(mapping.transform_image(image, outside=value), output)


def _outside_of(image: Image) -> float:
    """-1000 HU for what can be CT, otherwise 0."""
    from mics.image.hu import AIR_HU

    return AIR_HU if float(image.array.min()) <= _FAT_HU else 0.0


def _require_in_view(grid: Grid, transform: Transform, source: Path, name: Path) -> None:
    """Raise InputError where no voxel of the transform is filled from ``grid``."""
    import numpy as np

    # Thinned first, as nearly all inputs are seen so; a small one may slip through the samples.
    steps = [max(1, int(_APART_MM / spacing)) for spacing in transform.grid.spacing]
    last = np.array(grid.size).reshape(3, 1, 1, 1) - 0.5
    for part in (transform.thinned(steps), transform):
        sources = part.sources(grid)
        if ((sources >= -0.5) & (sources <= last)).all(axis=0).any():
            return
    ways = ("moving_to_fixed", "fixed_to_moving")
    given = next((way for way in ways if way in name.name), None)
    remedy = (
        "is it the opposite direction's, or of another pair of scans?"
        if given is None
        else f"it takes the {given.split('_')[0]} scan; for the other take transform_{ways[1 - ways.index(given)]}."
    )
    raise InputError(f"Nothing of {source} comes into view by {name}: {remedy}")


def _warn_of_labels(image: Image, source: Path) -> None:
    """Warn where an image holds few whole numbers and none below 0, as a label map does."""
    import numpy as np

    values = image.array.ravel(order="K")
    some = np.unique(values[:: max(1, values.size // _LOOKED_AT)])
    if some.size <= _FEW_VALUES and some[0] >= 0 and np.array_equal(some, np.rint(some)):
        warnings.warn(
            f"{source} looks like a label map (whole numbers, {some.size} different ones), and its values are mixed "
            "where they meet: if it is one, use --labels.",
            stacklevel=2,
        )


def _warn_of_points_outside(points: NDArray[Any], transform: Transform, source: Path, name: Path) -> None:
    import numpy as np

    voxels = transform.grid.world_to_voxel(points)
    outside = ((voxels < -0.5) | (voxels > np.array(transform.grid.size) - 0.5)).any(axis=1)
    if outside.any():
        warnings.warn(
            f"{np.count_nonzero(outside)} of the {len(voxels)} points of {source} lie outside the grid of {name}, and are "
            "moved like the nearest point on its border: are they LPS millimetres, and of the scan that it fills?",
            stacklevel=2,
        )
