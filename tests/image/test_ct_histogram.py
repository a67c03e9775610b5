"""The two peaks of fat and soft tissue in values drawn by hand."""

import numpy as np
import pytest
from scipy.stats import norm

from mics.image.ct_histogram import tissue_peaks


def test_no_fat_is_found_where_there_is_none():
    random = np.random.default_rng(0)
    assert tissue_peaks(random.normal(50, 15, 20_000).astype(np.float32)) is None
    muscle_and_liver = np.concatenate([random.normal(55, 10, 20_000), random.normal(105, 10, 20_000)])
    assert tissue_peaks(muscle_and_liver.astype(np.float32)) is None
    assert tissue_peaks(np.full(500, -1000, np.float32)) is None


@pytest.mark.parametrize(("apart", "found"), [(55, False), (60, True), (400, True), (405, False)])
def test_fat_and_soft_tissue_are_at_least_60_and_at_most_400_hu_apart(apart, found):
    """Two peaks without noise, each in the middle of a bin."""
    peak = norm.ppf(np.linspace(0.001, 0.999, 20001), scale=8)
    values = np.concatenate([peak - 57.5, peak - 57.5 + apart]).astype(np.float32)
    assert tissue_peaks(values) == ((-57.5, apart - 57.5) if found else None)
