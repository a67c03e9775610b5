"""Whether a scan's values are Hounsfield units, judged by their histogram; what lies outside the field of view made air."""

import itertools
import warnings
from pathlib import Path

import numpy as np

from mics.errors import InputError
from mics.image.checks import MAX_LABELS
from mics.image.ct_bits import refuse_unsigned, refuse_wrapped
from mics.image.ct_histogram import (
    MIN_LIKELIHOOD,
    Fit,
    fit_as_it_is,
    fit_scaled,
    fit_shifted,
    fit_tenth,
    with_less_background,
)
from mics.image.ct_scale import Values, scale_of, shows_fat
from mics.image.drift import drift_along
from mics.image.hu import AIR_HU
from mics.image.io import Image, read_image
from mics.image.slice_scales import (
    factor_across,
    few_on_another_scale,
    other_scale,
    step_between_slices,
    wrapped_at_an_end,
)

_MAX_SAMPLES = 200_000
_LOWEST_HU, _HIGHEST_HU = -1100.0, 3071.0
# A value further from all others than air from fat is no tissue's.
_GAP_HU = 900.0
_MIN_PADDING = 0.001
# So far padding may lie below all others where air shows; and how narrow that air has to be.
_APART_HU, _AROUND_AIR_HU, _NARROW_AIR_HU, _SHARE_OF_NARROW = 60.0, 150.0, 50.0, 0.8
_MIN_TISSUE = 0.001
_NARROWEST_HU = 30.0
# Metal stays below, in 16 bits and with every slope that a scanner writes.
_FARTHEST_HU = 3e5
# A padding: its share, how it stands out from so many values on both sides, and what lies so far below it.
_MIN_OF_ONE, _STANDS_OUT, _NEIGHBOURS = 0.01, 2.0, 3
_ABOVE_AIR_HU, _MIN_BELOW = 100.0, 0.01
# Noise of air, and the share that it has of a scan which shows the body's outside; less than that is soft tissue by chance.
_NOISE_OF_AIR_HU, _AIR_AROUND = 60.0, 0.2
# So dense are the hardest bones and metal alone: of what is no air, 7 % at most in parts of 64 mm of a scan with its full range.
_DENSE_HU, _MAX_DENSE = 1000.0, 0.3
_ORDINALS = ("first", "second", "third")
_USUAL_OFFSET = 1012  # stored values are HU + 1024 or + 1000
_NOT_BELOW_HU = -20.0
_BACKGROUND = 0.02
# Of neighbours in a label map; noise leaves few of a scan's equal.
_EQUAL_NEIGHBOURS = 0.6
# Gains in mean log-likelihood by an offset; good scans and their parts stay below in benchmarks/hounsfield.py.
_GAIN_REFUSED, _GAIN_WARNED = 0.9, 0.55
# Contrast medium brightens a part of a scan by as much.
_CONTRAST_HU = 150.0
# Where air is in view a smaller offset shows too: scans and parts of them, noise and contrast medium gain .12 at most.
_AIR_BELOW_HU, _MIN_AIR, _MIN_OFFSET_HU, _GAIN_WITH_AIR = -700.0, 0.1, 30.0, 0.3
# A drift of less leaves most tissues apart.
_FAR_DRIFT_HU = 200.0
# What a tenth may seem to be, by subjects' fat and soft tissue.
_TENTH = (0.07, 0.14)
_TISSUES_HU = (-1000.0, -100.0, 50.0)
# Means over blocks of so many voxels along each axis tell a noisy scan, in half of which values spread by so much at least.
_BLOCK, _NOISE_HU = 3, 60.0
_WHAT_CT_IS = "while CT in Hounsfield units has air at -1000, fat near -100 and soft tissue near 50"


def read_scan(path: str | Path) -> Image:
    """A CT volume in HU; raises InputError as :func:`mics.image.io.read_image` and :func:`hounsfield_units` do."""
    image = read_image(path)
    return Image(hounsfield_units(image.array, str(path), orientation=image.grid.orientation), image.grid)


def hounsfield_units(array: Values, name: str, *, orientation: str = "LPS") -> Values:
    """A scan's values with air where its padding was, the value outside of a scanner's circle that no tissue has.

    Parts of a scan, without air or of lung, are taken, and so are values cut off below or above.

    Args:
        array: (X, Y, Z), finite and not constant.
        name: of the scan, with which the sentences begin.
        orientation: where the array axes run to (:attr:`mics.image.grid.Grid.orientation`).

    Raises:
        InputError: if the values clearly are something else: shifted (stored values without their rescale intercept), scaled,
            a label map, another modality, or air alone. The sentence says what they look like and how to correct them.

    Warns where the values are doubtful, and of padding above all values.
    """
    samples = some_values(array)
    refuse_unsigned(samples, name)
    low, high = _reach(samples, _corners(array))
    samples = samples[(samples >= low) & (samples <= high)]
    padded = (low, high) != (-np.inf, np.inf)
    cleared = np.where((array < low) | (array > high), np.float32(AIR_HU), array) if padded else array
    _refuse_labels(array, samples, name)
    _refuse_extreme(cleared, name)
    _refuse_narrow(samples, name)
    refuse_wrapped(samples, name)
    _refuse_air(samples, name)
    _refuse_steps(array, cleared, name, orientation)
    background = _background(cleared, samples)
    if background is not None:
        _warn(
            f"{name} is {background:g} in {np.mean(samples == background):.0%} of its voxels, at its corners too, while others "
            "are far below: if that is padding or a cleared background, put -1000 there, as air is."
        )
        samples = samples[samples != background]
    drift = None if background is not None else _drift(cleared, name)
    if not _scaled(samples, _corners(cleared), name):
        if drift is not None:
            _warn(drift)
        _refuse_shifted(_without_noise(cleared, samples), name)
    _refuse_dense(samples, name)
    if high < np.inf:
        _warn(f"{name} holds values above {high:.4g} outside of its field of view, its padding, taken for air.")
    return cleared


def _corners(array: Values) -> list[float]:
    """The values at the corners: whatever lies outside of a convex field of view reaches a corner of every box that it
    shows in.
    """
    return [float(array[corner]) for corner in itertools.product(*[(0, -1)] * 3)]


def _reach(samples: Values, corners: list[float]) -> tuple[float, float]:
    """Bounds beyond which lies padding: a value of many voxels that stands at a corner and is far from all others, or below them
    where these show air of their own, at its place.
    """
    lowest, highest = -np.inf, np.inf
    for value in set(corners):
        others = samples[samples != value]
        many = 0 < len(others) < (1 - _MIN_PADDING) * len(samples)
        if not many or _LOWEST_HU <= value <= _HIGHEST_HU:
            continue
        low, high = np.quantile(others, [0.01, 0.99])
        below_air = value < low - _APART_HU and np.mean(samples == value) >= _MIN_OF_ONE and _shows_air(others)
        if value < low - _GAP_HU or below_air:
            lowest = max(lowest, (value + low) / 2)
        elif value > high + _GAP_HU:
            highest = min(highest, (value + high) / 2)
    return float(lowest), float(highest)


def _shows_air(samples: Values) -> bool:
    """Whether air stands where it is in HU: lung spreads further, and so does whatever lies there in a scan that is shifted."""
    near = samples[np.abs(samples - AIR_HU) < _AROUND_AIR_HU]
    if len(near) < _MIN_AIR * len(samples):
        return False
    middle = float(np.median(near))
    narrow = np.mean(np.abs(near - middle) <= _NARROW_AIR_HU) >= _SHARE_OF_NARROW
    return abs(middle - AIR_HU) <= _MIN_OFFSET_HU and bool(narrow)


def some_values(array: Values) -> Values:
    """Values from all over a volume (X, Y, Z), enough for its histogram."""
    return array[_lattice(array)].ravel()


def _lattice(array: Values) -> tuple[slice, slice, slice]:
    step = slice(None, None, max(1, int((array.size / _MAX_SAMPLES) ** (1 / 3))))
    return (step, step, step)


def _refuse_extreme(array: Values, name: str) -> None:
    """Refuse values of which a single one is too far off, as what stands for no data or bytes in another order."""
    low, high = float(array.min()), float(array.max())
    if low < -_FARTHEST_HU or high > _FARTHEST_HU:
        raise InputError(
            f"{name} does not hold Hounsfield units: its values reach from {low:.4g} to {high:.4g}: put -1000 where a scan has "
            "no data, or convert it from DICOM again."
        )


def _refuse_labels(array: Values, samples: Values, name: str) -> None:
    different = np.unique(samples)
    if different[0] != 0 or len(different) > MAX_LABELS or not np.array_equal(different, np.rint(different)):
        return
    one, next_one = array[:-1][_lattice(array)], array[1:][_lattice(array)]
    labelled = one > 0
    if labelled.any() and np.mean(one[labelled] == next_one[labelled]) > _EQUAL_NEIGHBOURS:
        raise InputError(
            f"{name} looks like a label map (whole numbers in patches of one value, 0 the lowest), not like a scan: "
            "give the CT itself, and the label map as labels."
        )


def _refuse_narrow(samples: Values, name: str) -> None:
    low, high = np.quantile(samples, [0.001, 0.999])
    if high - low >= _NARROWEST_HU:
        return
    raise InputError(
        f"{name} does not hold Hounsfield units: {_range(samples)}, as after scaling to [0, 1] or a z-score, {_WHAT_CT_IS}: "
        "give the scan as it was before."
    )


def _refuse_dense(samples: Values, name: str) -> None:
    """Refuse a body that is bone and metal for the most part, as attenuation and density times a thousand are."""
    if np.mean(samples > _DENSE_HU) > _MAX_DENSE * np.mean(samples > AIR_HU / 2):
        raise _other_values(samples, name)


def _refuse_steps(array: Values, cleared: Values, name: str, orientation: str) -> None:
    """Refuse a volume, with its padding and without, of which some slices are on another scale, or a half of each."""
    axis = next(axis for axis, letter in enumerate(orientation) if letter in "IS")
    _refuse_slice(other_scale(cleared, axis), axis, name)
    found = step_between_slices(cleared, axis)
    if found is not None:
        slice_, step = found
        raise InputError(
            f"{name} does not hold Hounsfield units in all its slices: at number {slice_}, from 0, along its {_ORDINALS[axis]} "
            f"axis, values change by about {step:+.0f} at once, so the rescale intercept or slope of a part is wrong: convert "
            "the scan from DICOM again."
        )
    for look in (few_on_another_scale, factor_across):
        _refuse_slice(look(array, axis), axis, name)
    _refuse_slice(wrapped_at_an_end(cleared, axis), axis, name)
    for across in (other for other in range(3) if other != axis):
        plane = factor_across(array, across)
        if plane is not None:
            raise InputError(
                f"{name} does not hold Hounsfield units everywhere: from number {plane}, from 0, along its {_ORDINALS[across]} "
                "axis on, values are those of another factor than before: convert the scan from DICOM again."
            )


def _refuse_slice(number: int | None, axis: int, name: str) -> None:
    if number is not None:
        raise InputError(
            f"{name} does not hold Hounsfield units in all its slices: at number {number}, from 0, along its {_ORDINALS[axis]} "
            "axis, values do not go on as beside it (another factor, upside down, wrapped to fewer bits, or none at all): "
            "convert the scan from DICOM again."
        )


def _drift(array: Values, name: str) -> str | None:
    """Refuse values that drift far along an axis or far from HU; a sentence where they drift less far, unless nowhere."""
    for axis, ordinal in enumerate(_ORDINALS):
        found = drift_along(array, axis)
        if found is None:
            continue
        first, last = found
        sentence = (
            f"hold Hounsfield units everywhere: the values look like HU shifted by about {first:+.0f} in the first third along "
            f"its {ordinal} axis, and by about {last:+.0f} in the last: convert the scan from DICOM again."
        )
        if max(abs(last - first), abs(first), abs(last)) > _FAR_DRIFT_HU:
            raise InputError(f"{name} does not {sentence}")
        return f"{name} may not {sentence}"
    return None


def _background(array: Values, samples: Values) -> float | None:
    """One value at the corners that stands out from all others and lies above air, as a tool's 0 outside does."""
    values, counts = np.unique(samples, return_counts=True)
    # The highest value may be where a scan was cut off.
    for at in np.flatnonzero(np.isin(values[:-1], _corners(array))).tolist():
        around = counts[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS + 1].sum() - counts[at]
        stands_out = counts[at] > max(_MIN_OF_ONE * len(samples), _STANDS_OUT * around)
        if stands_out and np.mean(samples < values[at] - _ABOVE_AIR_HU) > _MIN_BELOW:
            return float(values[at])
    return None


def _refuse_air(samples: Values, name: str) -> None:
    if np.mean((samples < _LOWEST_HU) | (samples > AIR_HU / 2)) < _MIN_TISSUE:
        raise InputError(
            f"{name} shows air alone: fewer than 0.1 % of its values are above -500 HU. Give another scan."
        )


def _refuse_tenth(samples: Values, name: str) -> None:
    """Refuse HU divided by 10, in which air passes for fat and all else for soft tissue.

    Only with peaks of fat and of soft tissue, or as much air as around a body, where a tenth has them: water alone is as narrow.
    """
    by_peaks = shows_fat(10 * samples)
    # The lowest value alone may be where a scan was cut off, at -100 too.
    by_air = np.mean((np.abs(10 * samples - AIR_HU) < _NOISE_OF_AIR_HU) & (samples > samples.min())) > _AIR_AROUND
    if not by_peaks and not by_air:
        return
    tissue = with_less_background(samples)
    tenth = fit_tenth(tissue).log_likelihood
    if tenth > MIN_LIKELIHOOD + np.log(10) and tenth - fit_as_it_is(tissue).log_likelihood > _GAIN_REFUSED:
        raise InputError(
            f"{name} does not hold Hounsfield units: the values look like HU divided by 10, so the rescale slope is wrong: "
            "convert the scan from DICOM again, or multiply every value by 10."
        )


def _scaled(samples: Values, corners: list[float], name: str) -> bool:
    """Refuse HU times a factor, upside down too, that the peaks of tissues tell; whether they nearly do, with a warning."""
    found = scale_of(samples, bright_background=corners.count(float(samples.max())) > len(corners) / 2)
    if found is None or _TENTH[0] < found[0].slope < _TENTH[1]:
        _refuse_tenth(samples, name)
    if found is None:
        return False
    fit, sure = found
    if sure:
        raise InputError(f"{name} does not hold Hounsfield units: {_looks_like(fit)}.")
    _warn(f"{name} may not hold Hounsfield units: {_looks_like(fit)}.")
    return True


def _without_noise(array: Values, samples: Values) -> Values:
    """``samples``; where these fit no CT, and means over blocks, with less noise, do and show air or fat, the latter."""
    if fit_as_it_is(with_less_background(samples)).log_likelihood >= MIN_LIKELIHOOD or min(array.shape) < _BLOCK:
        return samples
    whole = array[tuple(slice(length // _BLOCK * _BLOCK) for length in array.shape)]
    blocks = whole.reshape([part for length in whole.shape for part in (length // _BLOCK, _BLOCK)])
    means = some_values(blocks.mean(axis=(1, 3, 5)))
    fits = fit_as_it_is(with_less_background(means)).log_likelihood >= MIN_LIKELIHOOD
    shows = shows_fat(means) or np.mean(np.abs(means - AIR_HU) < _NOISE_OF_AIR_HU) > _MIN_AIR
    return means if fits and shows and np.median(blocks.std(axis=(1, 3, 5))) > _NOISE_HU else samples


def _refuse_shifted(samples: Values, name: str) -> None:
    """Refuse values that fit a CT much better shifted or scaled, or not at all; warn where they fit somewhat better."""
    tissue, grey = with_less_background(samples), _is_grey(samples)
    usual, shifted = fit_as_it_is(tissue), fit_shifted(tissue)
    gain = shifted.log_likelihood - usual.log_likelihood
    if abs(shifted.offset) < _CONTRAST_HU:
        evident = gain > _GAIN_WITH_AIR and abs(shifted.offset) >= _MIN_OFFSET_HU
        if evident and np.mean(samples < _AIR_BELOW_HU) >= _MIN_AIR:
            _warn(f"{name} may not hold Hounsfield units: {_looks_like(shifted)}.")
        gain = 0.0
    if gain > _GAIN_REFUSED or usual.log_likelihood < MIN_LIKELIHOOD:
        best = fit_scaled(tissue)
        if best.log_likelihood > MIN_LIKELIHOOD and not (grey and best.slope != 1):
            raise InputError(f"{name} does not hold Hounsfield units: {_looks_like(best)}.")
        raise _other_values(samples, name)
    if grey:
        raise _other_values(samples, name)
    if gain > _GAIN_WARNED:
        _warn(f"{name} may not hold Hounsfield units: {_looks_like(shifted)}.")
    elif samples.min() >= 0:
        _warn(f"{name} may not hold Hounsfield units: no value is below 0, while fat is near -100 and air at -1000.")
    elif samples.max() <= 0:
        _warn(
            f"{name} may not hold Hounsfield units: no value is above 0, while soft tissue is near 50 and bone higher."
        )


def _is_grey(samples: Values) -> bool:
    """Whether nothing lies below about 0, and a background there."""
    low, high = np.quantile(samples, [0.001, 0.999])
    return bool(low >= _NOT_BELOW_HU and np.mean(samples <= low + 0.02 * (high - low)) > _BACKGROUND)


def _other_values(samples: Values, name: str) -> InputError:
    return InputError(
        f"{name} does not hold Hounsfield units: {_range(samples)}, {_WHAT_CT_IS}: give the CT as converted from DICOM, not "
        "scaled or cut off at 0 (MR and PET cannot be registered)."
    )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


def _looks_like(fit: Fit) -> str:
    """What the values seem to be, and what to do."""
    offset = round(fit.offset / 10) * 10
    if fit.slope != 1:
        air, fat, soft = (f"{float(f'{fit.slope * hu + fit.offset:.2g}'):g}" for hu in _TISSUES_HU)
        places = f"air near {air}, fat near {fat} and soft tissue near {soft}"
        if fit.slope < 0:
            return (
                f"the values look like HU upside down ({places}), bright for dark: convert the scan from DICOM again, or "
                "turn them round"
            )
        return (
            f"the values look like HU times about {fit.slope:.2g}, plus {offset:g} ({places}), so the rescale slope is missing "
            "or wrong: convert the scan from DICOM again"
        )
    if abs(offset - _USUAL_OFFSET) < 40:
        return (
            f"the values look like HU shifted by about {offset:+}, so the rescale intercept (-1024 or -1000) is missing: convert "
            f"the scan from DICOM again, or subtract about {offset} from every value"
        )
    return (
        f"the values look like HU shifted by about {offset:+} (by less where low values were cut off), so the rescale intercept "
        "is missing or wrong: convert the scan from DICOM again"
    )


def _range(samples: Values) -> str:
    low, high = np.quantile(samples, [0.001, 0.999])
    return f"its values lie between {low:.4g} and {high:.4g}"
