"""HU of a generated subject in types that do not hold them: refused as that; cut off to the same values: taken."""

import functools
import warnings

import numpy as np
import pytest

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.image.hounsfield import hounsfield_units


@functools.cache
def subject():
    """Whole HU of a subject on a noisy scanner, a dense part among them."""
    hu = np.rint(phantom(0, network_grid(8.0)).image.array + np.random.default_rng(0).normal(0, 60, (48, 40, 64)))
    hu[22:26, 18:24] += 1000
    return hu.astype(np.float32)


def refusal(array):
    with pytest.raises(InputError, match=r"^A scan does not hold Hounsfield units: [^\n]*\.$") as error:
        hounsfield_units(array.astype(np.float32), "A scan")
    return str(error.value)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("offset", [0, 1024])
def test_hu_that_were_put_into_8_bits_are_refused(kind, offset):
    """As numpy does it: 128 becomes -128, or 256 becomes 0."""
    wrapped = (subject() + offset).astype(np.int16).astype(kind)
    assert "go on from one end at the other, as where HU were put into 8 bits" in refusal(wrapped)


@pytest.mark.parametrize(("bits", "low"), [(9, -256), (10, -1024), (11, -1024)])
def test_hu_that_were_put_into_9_to_11_bits_are_refused(bits, low):
    """As a DICOM header with too small a BitsStored has them read: what lies above begins anew at the lower end."""
    wrapped = (subject() - low) % 2**bits + low
    message = refusal(wrapped)
    assert f"from {low} to {low + 2**bits - 1} that go on from one end at the other" in message
    assert f"put into {bits} bits" in message


def test_hu_cut_off_to_8_bits_are_taken():
    cut = subject().clip(-128, 127)
    assert hounsfield_units(cut, "A scan") is cut


@pytest.mark.parametrize(("low", "high"), [(-1024, 1023), (-200, 311), (-512, 511)])
def test_hu_cut_off_to_as_many_values_as_fewer_bits_have_are_taken(low, high):
    cut = subject().clip(low, high)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(hounsfield_units(cut, "A scan"), cut)


@pytest.mark.parametrize("least", [-32768, -1000, -125])
def test_hu_whose_sign_was_taken_for_a_number_are_told_as_that(least):
    hu = subject().clip(least, None).astype(np.int16)
    assert "those below 0 are 65536 too high" in refusal(hu.view(np.uint16))
