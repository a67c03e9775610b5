"""`mics warp`: apply a transform to an image, a label map or landmarks."""

from pathlib import Path
from typing import Annotated

import typer

from mics.errors import InputError


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
) -> None:
    """Apply a transform to INPUT.

    Images and label maps go the way the file is named: transform_moving_to_fixed brings the MOVING image onto the
    FIXED grid. Points (LPS mm) go the other way: the same file brings landmarks of the FIXED scan to their place in the
    MOVING one.
    """
    if output.exists():
        raise InputError(f"{output} exists already; choose another name, so that nothing is overwritten.")
    from mics.deformation.transform import Transform
    from mics.image.io import read_image, read_labels, write_image
    from mics.image.points import Points, is_points, read_points, write_points

    if is_points(source):
        points = read_points(source)
        write_points(Points(Transform.load(transform).transform_points(points.coordinates), points.names), output)
    elif labels:
        label_map = read_labels(source)
        write_image(Transform.load(transform).transform_labels(label_map), output)
    else:
        image = read_image(source)
        write_image(Transform.load(transform).transform_image(image), output)
