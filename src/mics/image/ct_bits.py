"""HU in types that do not hold them: put into fewer bits, or their sign taken for a number."""

import numpy as np

from mics.errors import InputError
from mics.image.ct_histogram import MIN_LIKELIHOOD, fit_as_it_is, with_less_background
from mics.image.ct_scale import Values

# Values put into 8 bits: how many beside the last one, of what share each, and how many times as many at it are a heap.
_BESIDE, _MIN_AT_END, _HEAP = 9, 2e-4, 3.0
# More bits are rarely so full by chance: their values, and what share of all each beside the last one has then.
_BYTE, _MORE_BITS, _MIN_AT_MORE_ENDS = 256, (512, 1024, 2048), 2e-5
# Half of what 16 bits hold, and so many different values above it that they are no padding.
_SIGN, _MIN_SIGNED = 32768.0, 20


def refuse_unsigned(samples: Values, name: str) -> None:
    """Refuse HU of 16 bits whose sign was read as a number: 65535 for -1. A padding alone has one value."""
    above = samples >= _SIGN
    if samples.min() < 0 or len(np.unique(samples[above])) < _MIN_SIGNED:
        return
    signed = np.where(above, samples - 2 * _SIGN, samples)
    if fit_as_it_is(with_less_background(signed)).log_likelihood > MIN_LIKELIHOOD:
        raise InputError(
            f"{name} does not hold Hounsfield units: its values look like HU of which those below 0 are 65536 too high, as where "
            "signed numbers of 16 bits are taken for unsigned ones: convert it from DICOM again, or correct its type."
        )


def refuse_wrapped(samples: Values, name: str) -> None:
    """Refuse whole numbers that were put into 8 to 11 bits, in which 128 becomes -128 (or 256 becomes 0): values up to both ends
    of these, without the heap at an end that cutting off leaves. At the lower end of more than 8 bits air may be one.
    """
    low, count = int(samples.min()), int(samples.max()) - int(samples.min()) + 1
    known = low in (-128, 0) if count == _BYTE else count in _MORE_BITS
    if not known or not np.array_equal(samples, np.rint(samples)):
        return
    counts = np.bincount((samples - low).astype(np.int64), minlength=count)
    least, lower = (_MIN_AT_END, _HEAP) if count == _BYTE else (_MIN_AT_MORE_ENDS, np.inf)
    ends = ((counts[0], counts[1:_BESIDE], lower), (counts[-1], counts[-_BESIDE:-1], _HEAP))
    if any(beside.mean() < least * len(samples) or end > heap * beside.mean() for end, beside, heap in ends):
        return
    raise InputError(
        f"{name} does not hold Hounsfield units: its values are whole numbers from {low} to {low + count - 1} that go on from "
        f"one end at the other, as where HU were put into {count.bit_length() - 1} bits: convert it from DICOM again, with 16."
    )
