"""Numbers in other units, order or sign are found out; right ones, also bad ones, are not suspected."""

import numpy as np
import pytest
from scipy import ndimage

from mics.evaluation.convention_check import convention_warning, overlaps
from mics.image.grid import Grid
from mics.image.io import Image

GRID = Grid((64, 56, 48), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
SHIFT = np.array([6.0, -3.0, 1.5])


@pytest.fixture(scope="module")
def labels():
    """Blobs, and the same blobs shifted."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=GRID.size), 4)
    fixed = np.digitize(noise, np.quantile(noise, [0.7, 0.85])).astype(np.uint8)
    return Image(fixed, GRID), Image(ndimage.shift(fixed, SHIFT, order=0), GRID)


def constant(vector):
    return np.broadcast_to(np.float32(vector).reshape(3, 1, 1, 1), (3, *GRID.size))


@pytest.mark.parametrize(
    ("submitted", "message"),
    [
        (constant(4 * SHIFT), "as millimetres"),
        (constant(-SHIFT), "opposite sign"),
        (constant(SHIFT[::-1]), "components in the reverse order"),
        (constant(SHIFT) + np.indices(GRID.size, dtype=np.float32), "places instead of displacements"),
        (constant((2 * SHIFT / (np.array(GRID.size) - 1))[::-1]), "shares of the volume's extent"),
    ],
    ids=["millimetres", "sign", "order", "places", "normalised"],
)
def test_another_reading_is_named(labels, submitted, message):
    warning = convention_warning([overlaps(submitted, fixed=labels[0], moving=labels[1])])
    assert warning is not None
    assert message in warning


@pytest.mark.parametrize("submitted", [constant(SHIFT), constant((0, 0, 0)), constant((0, 20, 20))])
def test_what_is_right_or_merely_bad_is_not_suspected(labels, submitted):
    assert convention_warning([overlaps(submitted, fixed=labels[0], moving=labels[1])]) is None
