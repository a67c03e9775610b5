import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon

from mics.dicom_rt.contours import filled, outlines

CENTRES = np.moveaxis(np.indices((40, 30)), 0, -1).reshape(-1, 2) + [
    1e-4,
    2e-4,
]  # no channel of a keyhole runs through them


@st.composite
def stars(draw):
    """Rings around a point that do not cross themselves, which may reach beyond the slice; no corner on a pixel's row."""
    angles = np.sort(draw(st.lists(st.floats(0, 6.2), min_size=3, max_size=12, unique=True)))
    radii = np.array(draw(st.lists(st.floats(3, 25), min_size=len(angles), max_size=len(angles))))
    centre = np.array([draw(st.floats(-5, 45)), draw(st.floats(-5, 35))])
    ring = centre + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.floor(ring * 100) / 100 + 0.00371


@given(st.lists(stars(), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_pixel_is_within_an_odd_number_of_contours_as_matplotlib_counts(contours):
    within = [Polygon(np.vstack([ring, ring[:1]]), closed=True).contains_points(CENTRES) for ring in contours]
    expected = np.logical_xor.reduce(within).reshape(40, 30)
    assert np.count_nonzero(filled(contours, (40, 30)) != expected) <= 1  # a centre within rounding of an edge


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=100, deadline=None)
def test_outlines_enclose_the_pixels_that_they_were_drawn_around(mask):
    np.testing.assert_array_equal(filled(outlines(mask), mask.shape), mask)


def test_a_hole_is_a_keyhole_and_a_part_beside_a_contour_of_its_own():
    mask = np.zeros((40, 30), dtype=bool)
    mask[2:12, 2:12] = True
    mask[5:9, 5:9] = False
    mask[15:18, 3:6] = True
    rings = outlines(mask)
    assert len(rings) == 2
    # By winding number, as united: no ring fills the hole of another.
    united = np.logical_or.reduce(
        [Polygon(np.vstack([ring, ring[:1]]), closed=True).contains_points(CENTRES) for ring in rings]
    )
    np.testing.assert_array_equal(united.reshape(40, 30), mask)


@pytest.mark.parametrize("radius", [6.3, 11.8])
def test_outlines_of_a_disc_have_its_area(radius):
    centres = np.moveaxis(np.indices((40, 30)), 0, -1)
    (ring,) = outlines(np.linalg.norm(centres - [19.3, 14.6], axis=-1) < radius)
    (x, y), (u, v) = ring.T, np.roll(ring, -1, axis=0).T
    assert abs((x * v - u * y).sum() / 2) == pytest.approx(np.pi * radius**2, rel=0.05)
