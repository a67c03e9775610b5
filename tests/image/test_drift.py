"""Scans whose values drift along an axis."""

import re
import warnings

import numpy as np
import pytest

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.image.hounsfield import hounsfield_units

ORDINALS = ("first", "second", "third")


@pytest.fixture(scope="module")
def subject():
    return phantom(0, network_grid(8.0)).image.array


def ramp(shape, axis, low, high):
    steps = np.linspace(low, high, shape[axis], dtype=np.float32)
    return steps.reshape([-1 if own == axis else 1 for own in range(3)])


def said(array):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hounsfield_units(array, "A scan")
        except InputError as error:
            return str(error)
    return "; ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize(("low", "high", "axis"), [(0, 300, 0), (-150, 150, 1), (0, -400, 2), (0, 300, 2)])
def test_values_that_rise_along_an_axis_are_told(subject, low, high, axis):
    message = said(subject + ramp(subject.shape, axis, low, high))
    found = re.search(
        rf"^A scan (?:does|may) not hold Hounsfield units everywhere: the values look like HU shifted by about ([+-]\d+) in the "
        rf"first third along its {ORDINALS[axis]} axis, and by about ([+-]\d+) in the last: convert",
        message,
    )
    assert found is not None, message
    # In the mean of a third, which its tissues weigh.
    quarter = abs(high - low) / 4
    assert abs(float(found[1]) - low) < quarter + 20
    assert abs(float(found[2]) - high) < quarter + 20


@pytest.mark.parametrize(
    ("factor", "offset", "drift"),
    [(1, 1024, 120), (1, 1024, 150), (1, 300, 120), (2, 0, 120), (0.8, 0, 0), (0.82, 0, 0)],
)
def test_values_far_from_hu_are_refused_whether_they_drift_or_not(factor, offset, drift):
    hu = phantom(3, network_grid(8.0)).image.array
    message = said(factor * hu + offset + ramp(hu.shape, 2, -drift / 2, drift / 2))
    assert message.startswith("A scan does not hold Hounsfield units")


@pytest.mark.parametrize("change", [lambda hu: hu, lambda hu: hu.clip(-1000, 1000), lambda hu: hu.clip(-125, 275)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scans_and_their_parts_without_a_drift_are_taken(subject, axis, change):
    hu = change(subject)
    middle = hu.shape[axis] // 2
    for part in (hu, np.take(hu, range(middle), axis), np.take(hu, range(middle, hu.shape[axis]), axis)):
        assert said(part) == ""
