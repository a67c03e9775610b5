"""Scans of which some slices are on another scale than the others."""

import functools
import re

import numpy as np
import pytest

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.image.hounsfield import hounsfield_units


def refusal(array, **kwargs):
    with pytest.raises(InputError, match=r"^A scan ") as error:
        hounsfield_units(array.astype(np.float32), "A scan", **kwargs)
    return str(error.value)


@functools.cache
def subject():
    return phantom(0, network_grid(8.0)).image.array


def with_body_up_to_its_ends():
    hu = subject()
    shows = np.flatnonzero((hu > -200).mean(axis=(0, 1)) > 0.1)
    nearest = np.clip(np.arange(hu.shape[2]), shows[3], shows[-4])
    return hu[:, :, nearest].copy() if len(shows) < hu.shape[2] else hu.copy()


def raised(slices):
    hu = subject().copy()
    hu[:, :, slices] += np.float32(1024)
    return hu


@pytest.mark.parametrize(
    ("slices", "first"), [(np.s_[20:], 20), (np.s_[::2], 1), (np.s_[15:16], 15), (np.s_[:18], 18), (np.s_[10:14], 10)]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_without_the_intercept_of_the_others_are_refused(slices, first, axis):
    message = refusal(np.moveaxis(raised(slices), 2, axis), orientation=("SLP", "LSP", "LPS")[axis])
    if "in all its slices" in message:  # where they are most, all look shifted
        assert (
            f"at number {first}, from 0, along its {('first', 'second', 'third')[axis]} axis, values change by about "
            in message
        )
        step = float(re.search(r"about ([+-]\d+)", message)[1])
        assert abs(abs(step) - 1024) < 150
        assert (step > 0) == (raised(slices)[:, :, first].mean() > raised(slices)[:, :, first - 1].mean())
    else:
        assert "shifted by about +10" in message


SCALES = {
    "1.6 times": lambda hu: hu * 1.6,
    "halved": lambda hu: hu / 2,
    "tenth": lambda hu: hu / 10,
    "0 to 255": lambda hu: (hu.clip(-1000, 1000) + 1000) * 0.1275,
    "upside down": lambda hu: -hu,
    "8 bits": lambda hu: np.rint(hu).astype(np.int16).astype(np.int8).astype(np.float32),
    "8 bits from 0": lambda hu: np.rint(hu).astype(np.int16).astype(np.uint8).astype(np.float32),
}


@pytest.mark.parametrize("change", SCALES)
@pytest.mark.parametrize(("slices", "first"), [(np.s_[20:], 20), (np.s_[:18], 18), (np.s_[1::2], 1)])
def test_slices_on_another_scale_than_the_others_are_refused(change, slices, first):
    hu = subject() + np.random.default_rng(0).normal(0, 10, subject().shape).astype(np.float32)
    hu[:, :, slices] = SCALES[change](hu[:, :, slices])
    assert f"in all its slices: at number {first}, from 0, along its third axis" in refusal(hu)


@pytest.mark.parametrize(
    "change", [lambda hu: -hu, np.zeros_like, lambda hu: np.random.default_rng(0).normal(0, 300, hu.shape)]
)
@pytest.mark.parametrize("slices", [np.s_[20:21], np.s_[1::3]])
def test_slices_that_show_something_else_than_both_neighbours_are_refused(change, slices):
    hu = subject().copy()
    hu[:, :, slices] = change(hu[:, :, slices])
    assert f"in all its slices: at number {slices.start}, " in refusal(hu)


FEW = {
    "doubled": lambda hu: hu * 2,
    "1.5 times": lambda hu: hu * 1.5,
    "upside down": lambda hu: -hu,
    "8 bits": lambda hu: np.rint(hu).astype(np.int16).astype(np.int8).astype(np.float32),
    "8 bits from 0": lambda hu: np.rint(hu).astype(np.int16).astype(np.uint8).astype(np.float32),
}


@pytest.mark.parametrize("change", FEW)
@pytest.mark.parametrize("slices", [np.s_[:1], np.s_[:2], np.s_[-1:], np.s_[-2:], np.s_[-3:], np.s_[15:17]])
def test_a_few_slices_on_another_scale_are_refused_at_an_end_too(change, slices):
    hu = with_body_up_to_its_ends() + np.random.default_rng(0).normal(0, 10, subject().shape).astype(np.float32)
    hu[:, :, slices] = FEW[change](hu[:, :, slices])
    first = range(hu.shape[2])[slices][0]
    # A difference of the means is told as such, and is where the slices on the usual scale begin.
    numbers = f"(?:{first}, from 0, along its third axis|{range(hu.shape[2])[slices][-1] + 1}, .* change by about)"
    assert re.search(f"in all its slices: at number {numbers}", refusal(hu))


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.5, 2])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_few_slices_in_the_middle_times_a_factor_are_refused(factor, length):
    hu = subject().clip(-1000, None)  # air has one value, which times the factor looks like padding
    hu[:, :, 15 : 15 + length] *= np.float32(factor)
    assert "in all its slices: at number 15, from 0, along its third axis" in refusal(hu)


@pytest.mark.parametrize("change", [np.zeros_like, lambda hu: np.random.default_rng(0).normal(0, 300, hu.shape)])
@pytest.mark.parametrize("length", [2, 3])
def test_two_or_three_slices_that_show_something_else_than_those_around_are_refused(change, length):
    hu = subject().copy()
    hu[:, :, 15 : 15 + length] = change(hu[:, :, 15 : 15 + length])
    assert "in all its slices: at number 15, " in refusal(hu)


@pytest.mark.parametrize("factor", [0.1, 0.5, 2])
@pytest.mark.parametrize(("axis", "ordinal"), [(0, "first"), (1, "second")])
def test_a_half_of_each_slice_times_a_factor_is_refused(factor, axis, ordinal):
    hu = np.moveaxis(subject(), axis, 0).copy()
    middle = len(hu) // 2
    hu[middle:] *= np.float32(factor)
    message = refusal(np.moveaxis(hu, 0, axis))
    assert f"everywhere: from number {middle}, from 0, along its {ordinal} axis on, values are those of" in message


def test_slices_at_an_end_that_a_resampling_filled_in_part_are_taken():
    for share in (0.2, 0.5, 0.8):
        hu = with_body_up_to_its_ends()
        hu[:, :, -1] = share * hu[:, :, -1] - (1 - share) * 1000
        assert hounsfield_units(hu, "A scan") is hu


def test_an_end_that_resampling_filled_in_part_is_no_other_scale():
    hu = subject().copy()
    hu[:, :, :6] = -1000
    hu[:, :, 6] = (hu[:, :, 7] - 2000) / 3
    assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.parametrize("value", [3071, 30_000])
@pytest.mark.parametrize("slices", [np.s_[15:16], np.s_[3::6]])
def test_metal_that_few_slices_show_is_no_other_scale(value, slices):
    hu = subject().copy()
    i, j = np.indices(hu.shape[:2])
    body = np.argwhere(hu[:, :, 15] > 0).mean(axis=0)
    screw = (i - body[0]) ** 2 + (j - body[1]) ** 2 <= 4
    hu[screw, slices] = value
    assert hounsfield_units(hu, "A scan") is hu


def test_slices_that_show_hardly_anything_are_no_other_scale():
    """Lung whose values are cut off at fat's, in which a few voxels of vessels decide how alike neighbours are."""
    hu, rng = subject().clip(-125, None), np.random.default_rng(0)
    for k in range(4, 12):
        hu[:, :, k] = -125
        hu[rng.integers(hu.shape[0]), rng.integers(hu.shape[1]), k] = 40
    assert hounsfield_units(hu, "A scan") is hu
