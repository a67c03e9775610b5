"""Which scans are taken for Hounsfield units: good ones and parts of them, and the same made wrong.

    python benchmarks/hounsfield.py shared/data/AbdomenCTCT/imagesTr shared/data/native --parts 20

Every NIfTI file of the folders is taken for a good CT, label maps (label*, *_seg*) left out. Of each, the whole, its halves, its
middle and boxes of 64 mm are asked about; where air was cut off at -125 HU, once as it is and once with noisy air at -1000 put
back. A row counts what was taken without a word, warned about and refused, and how far a named offset lies from the true one.
"""

import argparse
import re
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.errors import InputError
from mics.evaluation.tables import table
from mics.image.hounsfield import hounsfield_units
from mics.image.io import Image, read_image

Values = NDArray[np.float32]
BOX_MM = 64.0
# Of a part with less there is nothing to say.
MIN_TISSUE = 0.05
CUT_OFF_HU = -125.0
RANDOM = np.random.default_rng(0)


def shifted(offset: float) -> Callable[[Values], Values]:
    """HU + ``offset``."""
    return lambda hu: hu + np.float32(offset)


def padded(value: float, offset: float = 0) -> Callable[[Values], Values]:
    """HU + ``offset``, and ``value`` outside of the circle."""

    def change(hu: Values) -> Values:
        x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape[:2]), indexing="ij")
        return np.where((x**2 + y**2 > 1)[..., None], np.float32(value), hu + np.float32(offset))

    return change


def noisy(hu: Values) -> Values:
    """With as much noise as a low dose leaves."""
    return hu + RANDOM.normal(0, 40, hu.shape).astype(np.float32)


def enhanced(hu: Values) -> Values:
    """Soft tissue brighter, as in an arterial phase."""
    return np.where((hu > 20) & (hu < 300), hu + 80, hu).astype(np.float32)


def with_metal(value: float) -> Callable[[Values], Values]:
    """A rod of ``value`` through the middle."""

    def change(hu: Values) -> Values:
        x, y = (n // 2 for n in hu.shape[:2])
        hu = hu.copy()
        hu[x : x + max(1, x // 20), y : y + max(1, y // 20)] = value
        return hu

    return change


def display(low: float, high: float, top: float) -> Callable[[Values], Values]:
    """``low`` to ``high`` HU scaled to 0 to ``top``, whole numbers where that is 255."""

    def change(hu: Values) -> Values:
        grey = (np.clip(hu, low, high) - low) / (high - low) * top
        return (np.rint(grey) if top == 255 else grey).astype(np.float32)

    return change


def standardised(hu: Values) -> Values:
    """A z-score."""
    return ((hu - hu.mean()) / hu.std()).astype(np.float32)


def like_mr(hu: Values) -> Values:
    """Fat brightest, air and bone dark, noise that is never negative."""
    signal = np.interp(hu, [-900, -300, -100, 0, 60, 200, 400], [0, 40, 800, 250, 400, 300, 60])
    return np.abs(signal + RANDOM.normal(0, 15, hu.shape)).astype(np.float32)


GOOD: dict[str, Callable[[Values], Values]] = {
    "as it is": shifted(0),
    "noise": noisy,
    "contrast": enhanced,
    "cut off at -100 and 300": lambda hu: hu.clip(-100, 300),
    "cut off at -800": lambda hu: hu.clip(-800, None),
    "metal at 3071": with_metal(3071),
    "metal at 30000": with_metal(30000),
    "padding -2000": padded(-2000),
    "padding -3024": padded(-3024),
    "padding -32768": padded(-32768),
    "padding 62512": padded(62512),
}
WRONG: dict[str, Callable[[Values], Values]] = {
    "HU / 10": lambda hu: hu / 10,
    "HU + 1024": shifted(1024),
    "HU + 1000": shifted(1000),
    "HU + 1024, padding -2000": padded(-2000, 1024),
    "HU + 1024, padding 0": padded(0, 1024),
    "HU - 1024": shifted(-1024),
    "HU + 400": shifted(400),
    "HU + 200": shifted(200),
    "HU + 100": shifted(100),
    "HU - 100": shifted(-100),
    "HU + 50": shifted(50),
    "HU - 50": shifted(-50),
    "HU - 33792": shifted(-33792),
    "HU + 32768": shifted(32768),
    "HU / 2": lambda hu: hu / 2,
    "HU x 2": lambda hu: hu * 2,
    "HU x 0.8": lambda hu: hu * 0.8,
    "HU x 1.2": lambda hu: hu * 1.2,
    "HU x 0.8 + 50": lambda hu: hu * 0.8 + 50,
    "upside down": lambda hu: -hu,
    "z-score x 100": lambda hu: standardised(hu) * 100,
    "[-1000, 1000] to [-500, 500]": lambda hu: display(-1000, 1000, 1000)(hu) - 500,
    "[0, 1]": display(-1000, 1000, 1),
    "[-160, 240] to 8 bit": display(-160, 240, 255),
    "[-1024, 3071] to 8 bit": display(-1024, 3071, 255),
    "z-score": standardised,
    "like MR": like_mr,
}


def parts(image: Image, count: int) -> Iterator[tuple[str, Values]]:
    """The whole, its halves, its middle, and ``count`` boxes of 64 mm at random."""
    array = image.array
    half, (x, y) = array.shape[2] // 2, (n // 3 for n in array.shape[:2])
    yield "whole", array
    yield "half", array[:, :, :half]
    yield "half", array[:, :, half:]
    yield "inside", array[x:-x, y:-y]
    size = np.minimum(np.ceil(BOX_MM / np.array(image.grid.spacing)).astype(int), array.shape)
    for _ in range(count):
        corner = [int(RANDOM.integers(0, n - s + 1)) for n, s in zip(array.shape, size, strict=True)]
        box = array[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))]
        if np.mean(box > CUT_OFF_HU) > MIN_TISSUE:
            yield "box of 64 mm", box


def answer(values: Values) -> tuple[str, float | None]:
    """Taken, warned or refused, and the offset that is named."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hounsfield_units(values, "A scan")
        except InputError as error:
            return "refused", _named(str(error))
    # Unsigned padding is corrected and warned of.
    messages = [str(warning.message) for warning in caught if "may not" in str(warning.message)]
    return ("warned", _named(messages[0])) if messages else ("taken", None)


def _named(message: str) -> float | None:
    found = re.search(r"HU ([+-]) about (\d+)", message)
    return None if found is None else float(found[1] + found[2])


def scans(folders: list[Path]) -> Iterator[tuple[str, Image]]:
    """Each scan, and where its air is cut off also with air."""
    for path in sorted(path for folder in folders for path in folder.glob("*.nii.gz")):
        if path.name.startswith("label") or "_seg" in path.name:
            continue
        image = read_image(path)
        cut = image.array == CUT_OFF_HU
        yield ("cut off" if image.array.min() == CUT_OFF_HU else "full range"), image
        if image.array.min() == CUT_OFF_HU:
            air = RANDOM.normal(-1000, 12, image.array.shape).astype(np.float32)
            yield "full range", Image(np.where(cut, air, image.array), image.grid)


def main() -> None:
    """Print the table, and the longest time that a question took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--parts", type=int, default=10, help="boxes of each scan")
    options = parser.parse_args()
    answers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    errors: dict[tuple[str, ...], list[float]] = defaultdict(list)
    longest = 0.0
    for number, (reach, image) in enumerate(scans(options.folders), start=1):
        print(f"scan {number}, {reach}", file=sys.stderr, flush=True)
        for part, values in parts(image, options.parts):
            for quality, changes in (("good", GOOD), ("wrong", WRONG)):
                for change, make in changes.items():
                    made = make(values)
                    start = time.perf_counter()
                    kind, offset = answer(made)
                    longest = max(longest, time.perf_counter() - start)
                    key = (quality, change, reach, part)
                    answers[key][kind] += 1
                    true = re.match(r"HU ([+-]) (\d+)", change)
                    if offset is not None and true is not None:
                        errors[key].append(abs(offset - float(true[1] + true[2])))
    rows = [
        [
            *key,
            *(str(count[kind]) for kind in ("taken", "warned", "refused")),
            f"{max(errors[key], default=np.nan):.0f}",
        ]
        for key, count in sorted(answers.items())
    ]
    print("\n".join(table(["values", "change", "reach", "part", "taken", "warned", "refused", "offset off by"], rows)))
    print(f"longest: {longest:.2f} s")


if __name__ == "__main__":
    main()
