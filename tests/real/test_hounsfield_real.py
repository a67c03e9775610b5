"""Where fat lies in real scans, as they are and made wrong: the bounds of the verdict, -127 and -67 HU (docs/conventions.md)."""

import numpy as np
import pytest

from mics.image.ct_histogram import tissue_peaks
from mics.image.ct_scale import scale_of
from mics.image.drift import drift_along
from mics.image.hounsfield import some_values
from mics.image.io import read_image
from mics.image.slice_scales import factor_across, few_on_another_scale, step_between_slices, wrapped_at_an_end

WRONG = {"+50": (1, 50), "-50": (1, -50), "+100": (1, 100), "-100": (1, -100), "x2": (2, 0), "/2": (0.5, 0)}

FACTORS = (0.7, 0.8, 1.2, 1.5, 4, -1)


@pytest.mark.nightly
def test_fat_lies_where_it_should_in_good_scans_and_elsewhere_in_others(real_data):
    files = sorted((real_data / "AbdomenCTCT" / "imagesTr").glob("*.nii.gz"))
    files += [
        path for path in sorted((real_data / "native").glob("*.nii.gz")) if path.name.startswith(("img", "total"))
    ]
    files = [path for path in files if not path.name.endswith("_seg.nii.gz")]
    good, wrong = [], {name: [] for name in WRONG}
    for path in files:
        array = read_image(path).array
        middle = array.shape[2] // 2
        for part in (array, array[:, :, :middle], array[:, :, middle:]):
            good.append(tissue_peaks(some_values(part)))
        for name, (slope, offset) in WRONG.items():
            wrong[name].append(tissue_peaks(some_values((array * slope + offset).astype(np.float32))))
    assert len(files) >= 18
    assert all(-127 <= peaks[0] <= -67 for peaks in good if peaks is not None)
    for name, found in wrong.items():
        message = [peaks for peaks in found if peaks is not None and not -127 <= peaks[0] <= -67]
        assert len(message) >= 0.8 * len(files), name


def test_slices_on_another_scale_are_found_and_none_in_good_scans(real_data):
    files = [*(real_data / "AbdomenCTCT" / "imagesTr").glob("*.nii.gz"), *(real_data / "native").glob("img*.nii.gz")]
    assert len(files) >= 17
    for path in files:
        array = read_image(path).array
        middle = array.shape[2] // 2
        for part in (array, array[:, :, middle:], array[: array.shape[0] // 2]):
            assert step_between_slices(part, 2) is None
            assert few_on_another_scale(part, 2) is None
            assert wrapped_at_an_end(part, 2) is None
            for axis in range(3):
                assert factor_across(part, axis) is None
                assert drift_along(part, axis) is None
        array[:, :, middle:] += 1024
        slice_, step = step_between_slices(array, 2)
        assert slice_ == middle
        assert abs(step - 1024) < 60


@pytest.mark.nightly
def test_a_factor_is_told_in_scans_that_show_air_and_none_in_good_ones(real_data):
    """Air, where it was cut off at -125 HU, is put back as a scanner has it."""
    random, told = np.random.default_rng(0), dict.fromkeys(FACTORS, 0)
    files = [*(real_data / "AbdomenCTCT" / "imagesTr").glob("*.nii.gz"), *(real_data / "native").glob("img*.nii.gz")]
    assert len(files) >= 17
    for path in files:
        array = read_image(path).array[::2, ::2]
        cut = array == -125
        full = np.where(cut, random.normal(-1000, 12, array.shape), array).astype(np.float32)
        good = [array, full, full.clip(-1000, 1000), array.clip(-100, 300), full.clip(-800, None)]
        good += [full[:, :, : full.shape[2] // 2], full[full.shape[0] // 4 : -full.shape[0] // 4]]
        for hu in good:
            assert scale_of(some_values(hu), bright_background=False) is None, path
        for factor in FACTORS:
            found = scale_of(some_values(full) * np.float32(factor), bright_background=False)
            if found is not None:
                told[factor] += 1
                assert found[0].slope == pytest.approx(factor, rel=0.06)
                assert found[0].offset == pytest.approx(0, abs=40 * abs(factor))  # people and phases differ
    assert all(count >= 0.8 * len(files) for count in told.values()), told
