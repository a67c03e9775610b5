from types import SimpleNamespace

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image

SCALE, SHIFT = (
    np.array([1.25, 1.0, 0.8]),
    np.array([4.3, -3.2, 2.4]),
)  # fixed point to moving point, mm, about the origin


def hu(points):
    """A linear ramp, which linear interpolation keeps exactly."""
    return (2 * points[..., 0] + 3 * points[..., 1] - points[..., 2]).astype(np.float32)


@pytest.fixture
def registration():
    """What the picture needs of a registration, with an affine and a whole transform that are known by formula."""
    fixed_grid = Grid.axis_aligned((-40, -30, -30), (40, 34, 30), (2, 2, 3), "RAS")
    moving_grid = Grid.axis_aligned((-60, -45, -18), (70, 45, 40), (2, 3, 2), "LPS")
    affine = np.eye(4)
    affine[:3, 3] = SHIFT
    fixed_points = fixed_grid.points()
    moving = Image(hu(moving_grid.points()), moving_grid)
    transform = Transform((fixed_points * (SCALE - 1) + SHIFT).astype(np.float32), fixed_grid)
    labels = Image((np.linalg.norm(fixed_points - (5, 0, 8), axis=-1) < 12).astype(np.uint8), fixed_grid)
    moving_labels = Image((np.linalg.norm(moving_grid.points(), axis=-1) < 12).astype(np.uint8), moving_grid)
    return SimpleNamespace(
        fixed=Image(hu(fixed_points), fixed_grid),
        moving=moving,
        affine=affine,
        moving_to_fixed=transform,
        moving_warped=transform.transform_image(moving),
        fixed_labels=labels,
        moving_labels=moving_labels,
        moving_labels_warped=transform.transform_labels(moving_labels),
        summary={},
    )
