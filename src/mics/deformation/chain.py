"""Several transforms one after the other, as one: an image is interpolated once however long the chain is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mics.deformation.itk_transform import affine_of
from mics.deformation.slabs import each_slab
from mics.deformation.transform import Transform
from mics.errors import GeometryError, SettingError, require_type, shown
from mics.image.grid import Grid, apply_matrix

Link = Transform | NDArray[np.float64]
"""A transform, or an affine (4, 4) in LPS mm that maps points as ITK stores it, opposite to images."""


def chained(links: Sequence[Link], grid: Grid | None = None) -> Transform:
    """One transform for ``links``, in the order in which an image goes through them.

    Args:
        links: Transforms and affines (4, 4): the first is the one that the image itself is given to.
        grid: What the result fills; by default the grid of the last link.

    Returns:
        The transform that does what all of them do one after the other, with one interpolation of the image.

    Raises:
        InputError: Without any link, for one that is neither, or where the last one is an affine, which has no grid, and none is
            given.
    """
    require_type(links, Sequence, "A chain of transforms is a list of them")
    if not links:
        raise SettingError("A chain of transforms needs at least one.")
    if grid is not None:
        require_type(grid, Grid, "What a chain of transforms fills is a Grid")
    *earlier, last = [_checked(link) for link in links]
    if isinstance(last, Transform):
        result = last if grid is None or grid == last.grid else last.resampled(grid)
    elif grid is None:
        raise GeometryError("The last of the transforms is an affine, which has no grid: say on which one to end.")
    else:
        result = _after_affine(Transform(np.zeros((*grid.size, 3), np.float32), grid), last)
    for link in reversed(earlier):
        result = result.compose(link) if isinstance(link, Transform) else _after_affine(result, link)
    return result


def points_through(links: Sequence[Link], points_lps: ArrayLike) -> NDArray[np.float64]:
    """LPS points (N, 3) taken through ``links`` opposite to images: through the last one first."""
    points = np.asarray(points_lps, dtype=np.float64)
    for link in reversed(links):
        points = link.transform_points(points) if isinstance(link, Transform) else apply_matrix(link, points)
    return points


def _checked(link: object) -> Link:
    if isinstance(link, Transform):
        return link
    try:
        array = np.asarray(link)
    except ValueError:  # lists of different lengths
        array = np.empty(0)
    if array.shape != (4, 4):
        raise SettingError(f"A link of a chain is a Transform or an affine of shape (4, 4), not {shown(link)}.")
    return affine_of(array)


def _after_affine(transform: Transform, affine: NDArray[np.float64]) -> Transform:
    """One transform for an affine first and ``transform`` after it, on images."""
    composed = np.empty_like(transform.displacement_mm)

    def work(part: slice, slab: Grid) -> None:
        points = slab.points()
        composed[part] = apply_matrix(affine, points + transform.displacement_mm[part]) - points

    each_slab(transform.grid, work)
    return Transform(composed, transform.grid)
