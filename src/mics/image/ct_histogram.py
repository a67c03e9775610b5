"""How well the values of a volume fit those of a CT: as they are, or shifted and scaled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

_BIN_HU = 10
_LOWEST_HU, _HIGHEST_HU = -1200, 3200
_CENTRES = np.arange(_LOWEST_HU, _HIGHEST_HU, _BIN_HU) + _BIN_HU / 2
_BINS = len(_CENTRES)
# Share in a usual scan, mean and standard deviation in HU of air, lung, fat, soft tissue, and bone and contrast medium.
_TISSUES = np.array(
    [(0.35, -1000, 20), (0.05, -800, 150), (0.25, -100, 35), (0.30, 50, 45), (0.04, 250, 300)], dtype=np.float64
)
_ANYTHING_SHARE = 0.01
_ELSEWHERE = 1e-8
_ROUNDS = 25
# A noiseless peak is as wide as a noisy one.
_KERNEL = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
_KERNEL /= _KERNEL.sum()
# Of values further apart no offset makes a CT.
_MAX_BINS = 8000
_CANDIDATES = 4
_APART_BINS = 15
_SLOPES = (0.25, 0.5, 2.0, 4.0)
# A slope is easily found by chance; an offset alone is the simpler cause.
_SLOPE_GAIN = 0.3


def _densities() -> NDArray[np.float64]:
    """Of each tissue, and of anything that CT can hold, in each bin."""
    _, mean, deviation = _TISSUES.T[:, :, None]
    peaks = np.exp(-0.5 * ((_CENTRES - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    anything = ((_CENTRES > -1100) & (_CENTRES < 3100)) / 4200
    return np.concatenate([peaks, anything[None]])


_DENSITIES = _densities()
_SHARES = np.append(_TISSUES[:, 0], _ANYTHING_SHARE)
_USUAL = np.log(_SHARES @ _DENSITIES + _ELSEWHERE)


MIN_LIKELIHOOD = -7.3
"""Of a value, in the mean: less is no CT's, whatever the offset; parts of 64 mm reach -7."""
# Between these and in bins so wide, fat and soft tissue are the main peaks; so far apart they are those of no other pair.
_FROM_HU, _TO_HU, _FINE_HU = -400, 500, 5
_APART_HU = (60.0, 400.0)
# Of the highest peak: how far one stands out, and what fat reaches where the scan shows the body's outside.
_STANDS_OUT, _MAIN = 0.1, 0.5


@dataclass(frozen=True)
class Fit:
    """Values as ``slope`` x HU + ``offset``, and the mean log-likelihood of a value under it."""

    log_likelihood: float
    slope: float = 1.0
    offset: float = 0.0


def with_less_background(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lowest value at most a tenth as often as all others: it is air, or tells how low values were cut off."""
    above = values[values > values.min()]
    return np.append(above, values[values == values.min()][: max(1, len(above) // 10)])


def fit_as_it_is(values: NDArray[np.float32]) -> Fit:
    """The values taken for HU."""
    histogram, first = _histogram(values)
    return Fit(_as_hu(histogram, first))


def fit_tenth(values: NDArray[np.float32]) -> Fit:
    """The values taken for a tenth of HU."""
    return Fit(fit_as_it_is(values * np.float32(10)).log_likelihood + float(np.log(10)), slope=0.1)


def fit_shifted(values: NDArray[np.float32]) -> Fit:
    """The values with the offset by which they fit a CT best."""
    return _shifted(values, 1.0)


def fit_scaled(values: NDArray[np.float32]) -> Fit:
    """The values with the best offset and, where that explains clearly more, slope; parts of a scan fit many slopes."""
    shifted = fit_shifted(values)
    scaled = max((_shifted(values, slope) for slope in _SLOPES), key=lambda fit: fit.log_likelihood)
    return scaled if scaled.log_likelihood > shifted.log_likelihood + _SLOPE_GAIN else shifted


def quick_log_likelihood(values: NDArray[np.float32], slope: float, offset: float) -> float:
    """Log-likelihood as of :class:`Fit`, with the usual shares of the tissues in place of the best ones."""
    bins = np.floor(((values - offset) / slope - _LOWEST_HU) / _BIN_HU)
    inside = bins[(bins >= 0) & (bins < _BINS)].astype(np.int64)
    outside = 1 - len(inside) / len(values)
    return float(_USUAL[inside].sum() / len(values) + outside * np.log(_ELSEWHERE) - np.log(abs(slope)))


def tissue_peaks(values: NDArray[np.float32]) -> tuple[float, float] | None:
    """HU of fat and of soft tissue: the lowest peak and the highest one above it; None where they do not stand apart.

    The value at which a scan was cut off below is no peak.
    """
    bins = np.arange(_FROM_HU, _TO_HU + _FINE_HU, _FINE_HU)
    counts, _ = np.histogram(values[values > values.min() + _FINE_HU / 2], bins)
    smooth = np.convolve(counts, np.ones(5) / 5, "same")
    peaks, _ = find_peaks(smooth, prominence=_STANDS_OUT * smooth.max())
    places = _FROM_HU + _FINE_HU * (peaks + 0.5)
    if len(peaks) == 0 or smooth[peaks[0]] < _MAIN * smooth.max():
        return None
    above = (places - places[0] >= _APART_HU[0]) & (places - places[0] <= _APART_HU[1])
    if not above.any():
        return None
    soft = places[above][smooth[peaks[above]].argmax()]
    return float(places[0]), float(soft)


def _shifted(values: NDArray[np.float32], slope: float) -> Fit:
    """The best offset at this slope."""
    offset, likelihood = _best_offset(values / np.float32(slope))
    return Fit(likelihood - float(np.log(slope)), slope, slope * offset)


def _best_offset(values: NDArray[np.float32]) -> tuple[float, float]:
    """The offset in HU by which the values fit best, in whole bins, and their log-likelihood there."""
    histogram, first = _histogram(values)
    if len(histogram) > _MAX_BINS:
        return 0.0, _as_hu(histogram, first)
    # Searched with the usual shares of the tissues, and refined with those of this scan.
    usual = _USUAL - np.log(_ELSEWHERE)
    scores = np.correlate(histogram, usual, "valid")
    starts: set[int] = set()
    for _ in range(_CANDIDATES):
        middle = int(scores.argmax())
        around = slice(max(0, middle - _APART_BINS), middle + _APART_BINS + 1)
        scores[around] = -np.inf
        starts.update(start for start in range(middle - 6, middle + 7, 2) if 0 <= start < len(scores))
    places = np.array(sorted(starts))
    found = _log_likelihoods(np.lib.stride_tricks.sliding_window_view(histogram, _BINS)[places])
    best = found.argmax()
    return float((first + places[best]) * _BIN_HU - _LOWEST_HU), float(found[best])


def _histogram(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], int]:
    """The smoothed share of each bin, from well below to well above the values and the range of CT; the first bin's number."""
    low, high = np.quantile(values, [0.0005, 0.9995])
    first = int(min(low, _LOWEST_HU) // _BIN_HU) - _BINS
    bins = int(max(high, _HIGHEST_HU) // _BIN_HU) - first + _BINS
    numbers = np.clip(np.floor(values / _BIN_HU) - first, 0, bins - 1).astype(np.int64)
    return np.convolve(np.bincount(numbers, minlength=bins) / len(values), _KERNEL, "same"), first


def _as_hu(histogram: NDArray[np.float64], first: int) -> float:
    """The log-likelihood of the values as they are."""
    start = _LOWEST_HU // _BIN_HU - first
    return float(_log_likelihoods(histogram[None, start : start + _BINS])[0])


def _log_likelihoods(histograms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a value of each histogram (a row), with the shares of the tissues that fit best (expectation maximisation)."""
    shares = np.broadcast_to(_SHARES, (len(histograms), len(_SHARES)))
    for _ in range(_ROUNDS):
        shares = shares * (histograms / (shares @ _DENSITIES + _ELSEWHERE) @ _DENSITIES.T) + 1e-4
        shares /= shares.sum(axis=1, keepdims=True)
    inside = (histograms * np.log(shares @ _DENSITIES + _ELSEWHERE)).sum(axis=1)
    likelihoods: NDArray[np.float64] = inside + np.maximum(0, 1 - histograms.sum(axis=1)) * np.log(_ELSEWHERE)
    return likelihoods
