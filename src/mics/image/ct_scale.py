"""By which factor and offset the values of a volume are those of a CT, judged by where their peaks lie to each other."""

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from mics.image.ct_histogram import Fit, fit_as_it_is, quick_log_likelihood, tissue_peaks

Values = NDArray[np.float32]

# HU of the peaks that can be told apart: air, fat, and soft tissue without and with contrast medium.
_ANCHORS = ((-1000.0, -100.0), (-1000.0, 50.0), (-100.0, 50.0), (-110.0, 100.0))
# Shares of the values between which peaks are looked for: all of them, and where a few peaks are far from the others.
_RANGES = ((0.001, 0.999), (0.02, 0.98), (0.3, 0.99), (0.01, 0.7))
_BINS, _KERNEL, _PROMINENCE, _PEAKS_EACH = 150, np.array([0.1, 0.2, 0.4, 0.2, 0.1]), 0.05, 5
# Of the range: peaks nearer to each other are one.
_ONE_PEAK = 1 / 150
_FEW_SAMPLES, _MAX_SAMPLES, _CANDIDATES = 3000, 30_000, 6
# Of all others: so often the lowest and the highest value count, which may be where values were cut off.
_AT_AN_END = 0.1
_MIN_VALUES = 100
# Air, as the factor would have it, and the share that it has of a scan which shows the body's outside.
_NEAR_AIR_HU, _MIN_AIR = 60.0, 0.1
# Gains in mean log-likelihood. Good scans, parts of 64 mm, noise and contrast medium gain .16 at most by factors of a half to two
# where air is in view, and by any other .94; values cut off at an end .72.
_MODERATE = (0.5, 2.0)
_GAIN_MODERATE, _GAIN_SURE, _GAIN_OTHER = 0.3, 0.6, 1.1
# Factors between these are none: contrast medium makes soft tissue seem further from fat.
_NO_FACTOR = (0.94, 1.15)
# So are these of scans that are as they should be: inner parts whose lung lies where air would, and cone-beam CT's air.
_DOUBTFUL = (0.85, 1.15)
# Where fat is most of a body, its peak may pass for soft tissue's, by this factor: then no peak is where fat would have to be.
_FAT_FOR_SOFT, _FACTOR_TOLERANCE, _FAT_TOLERANCE_HU = 900 / 1050, 0.03, 30.0
# Air that lies below all that is possible tells smaller ones.
_SMALL_FACTOR, _GAIN_SMALL = 1.06, 1.5
# Where their peaks are in scans with and without contrast medium.
_FAT_HU, _SOFT_HU = (-160.0, -60.0), (0.0, 150.0)
# A background that is brightest: its share of the values.
_BACKGROUND = 0.15


def scale_of(values: Values, *, bright_background: bool) -> tuple[Fit, bool] | None:
    """Factor and offset by which the values come from HU, where these explain them much better than none; and whether that is
    sure.

    Only peaks can tell: where the body's outside is in view those of air, fat and soft tissue, otherwise the latter two.

    Args:
        values: Some of all over a volume.
        bright_background: Whether most of its corners have the highest value of all.

    Returns:
        The fit, its ``slope`` below 0 where bright and dark are exchanged; None where the values may be HU, but for an offset.
    """
    inner = (values > values.min()) & (values < values.max())
    if np.count_nonzero(inner) < _MIN_VALUES:
        return None
    tissue, peaks = _with_fewer_at_ends(values), _peaks(values[inner])
    usual = fit_as_it_is(tissue).log_likelihood
    if bright_background and np.mean(values == values.max()) > _BACKGROUND and not shows_fat(values):
        turned = _fits_by_peaks(tissue, peaks, upside_down=True)
        best = _best(fit for fit in turned if shows_fat(_in_hu(values, fit)))
        if best is not None and best.log_likelihood > usual:
            return best, True
    best = _best(_fits_by_peaks(tissue, peaks))
    if best is None:
        return None
    gain = best.log_likelihood - usual
    if _NO_FACTOR[0] < best.slope < _NO_FACTOR[1] and not (best.slope > _SMALL_FACTOR and gain > _GAIN_SMALL):
        return None
    hu = _in_hu(values, best)
    shows_air = np.mean((np.abs(hu + 1000) < _NEAR_AIR_HU) & inner) > _MIN_AIR
    if shows_air and _takes_fat_for_soft_tissue(best, peaks):
        return None
    if shows_air and _MODERATE[0] <= best.slope <= _MODERATE[1]:
        doubtful = _DOUBTFUL[0] < best.slope < _DOUBTFUL[1]
        return (best, bool(gain > _GAIN_SURE) and not doubtful) if gain > _GAIN_MODERATE else None
    # Fat and soft tissue alone look alike upside down, and contrast medium makes a third peak of a part without air.
    if not shows_fat(hu) or (shows_fat(values) and not shows_air):
        return None
    moderate = _MODERATE[0] <= abs(best.slope) <= _MODERATE[1] and not shows_air
    return (best, True) if gain > _GAIN_OTHER and not moderate else None


def _takes_fat_for_soft_tissue(fit: Fit, peaks: list[float]) -> bool:
    """Whether air and fat, as far from each other as in HU, are air and soft tissue to the fit, which has no peak for fat."""
    if abs(fit.slope - _FAT_FOR_SOFT) > _FACTOR_TOLERANCE:
        return False
    fat = fit.offset - 100 * fit.slope
    return all(abs(peak - fat) > _FAT_TOLERANCE_HU for peak in peaks)


def shows_fat(values: Values) -> bool:
    """Whether the main peaks are where those of fat and soft tissue are."""
    peaks = tissue_peaks(values)
    return peaks is not None and _FAT_HU[0] < peaks[0] < _FAT_HU[1] and _SOFT_HU[0] < peaks[1] < _SOFT_HU[1]


def _with_fewer_at_ends(values: Values) -> Values:
    """The lowest and the highest value at most a tenth as often as all others."""
    for end in (values.min(), values.max()):
        others = values[values != end]
        count = min(len(values) - len(others), max(1, int(len(others) * _AT_AN_END)))
        values = np.append(others, np.full(count, end, values.dtype))
    return values


def _in_hu(values: Values, fit: Fit) -> Values:
    return (values - np.float32(fit.offset)) / np.float32(fit.slope)


def _best(fits: Iterable[Fit]) -> Fit | None:
    return max(fits, key=lambda fit: fit.log_likelihood, default=None)


def _fits_by_peaks(values: Values, peaks: list[float], *, upside_down: bool = False) -> list[Fit]:
    """Factors and offsets that take two of the ``peaks`` to those of two tissues; a few that seem to explain ``values`` best.

    ``upside_down``: of factors below 0 alone.
    """
    few = _some(values, _FEW_SAMPLES)
    found = []
    for one, other in itertools.permutations(peaks, 2):
        for low, high in _ANCHORS:
            slope = (other - one) / (high - low)
            if upside_down and slope > 0:
                continue
            offset = one - slope * low
            found.append((quick_log_likelihood(few, slope, offset), slope, offset))
    apart: list[tuple[float, float]] = []
    for _, slope, offset in sorted(found, reverse=True):
        if all(abs(slope / known - 1) > 0.05 or abs(offset - at) > 20 * abs(slope) for known, at in apart):
            apart.append((slope, offset))
        if len(apart) == _CANDIDATES:
            break
    some = _some(values, _MAX_SAMPLES)
    return [
        Fit(fit_as_it_is((some - offset) / slope).log_likelihood - float(np.log(abs(slope))), slope, offset)
        for slope, offset in apart
    ]


def _peaks(values: Values) -> list[float]:
    """Where the values are most frequent, in ranges of several widths."""
    low, high = np.quantile(values, _RANGES[0])
    found: list[float] = []
    for first, last in np.quantile(values, _RANGES):
        if first == last:
            continue
        counts, edges = np.histogram(values, _BINS, (first, last))
        smooth = np.pad(np.convolve(counts, _KERNEL, "same"), 1)
        places, _ = find_peaks(smooth, prominence=_PROMINENCE * smooth.max())
        highest = places[np.argsort(-smooth[places])][:_PEAKS_EACH] - 1
        found += ((edges[:-1] + edges[1:]) / 2)[highest].tolist()
    apart: list[float] = []
    for place in sorted(found):
        if not apart or place - apart[-1] > _ONE_PEAK * (high - low):
            apart.append(place)
    return apart


def _some(values: Values, count: int) -> Values:
    return values[:: max(1, len(values) // count)]
