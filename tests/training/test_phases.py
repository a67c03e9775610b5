"""Contrast phases: hand-made organs get the HU that the formula says, and nothing else changes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mics.organs import AORTA, LIVER, ORGAN_NAMES, SPLEEN
from mics.training.phases import PLAIN_HU, PhaseChange

SHAPE = (20, 16, 18)
BACKGROUND_HU, LIVER_HU, AORTA_HU = -40.0, 110.0, 160.0
COUNT = len(ORGAN_NAMES)


def body() -> tuple[torch.Tensor, torch.Tensor]:
    """A liver with a vessel in it and an aorta, in fat."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:11, 2:12, 2:12] = LIVER
    labels[13:18, 4:9, :] = AORTA
    hu = np.select([labels == LIVER, labels == AORTA], [LIVER_HU, AORTA_HU], BACKGROUND_HU)
    hu[5:8, 5:8, 5:8] += 50
    return torch.from_numpy(hu)[None, None].float(), torch.from_numpy(labels)[None, None]


def phase(**changes: float) -> PhaseChange:
    """No change but of every organ's ``gain``, ``offset`` or ``texture``, or of the ``vessels``."""
    same = {"gain": 1.0, "offset": 0.0, "texture": 1.0, "vessels": 1.0} | changes
    by_label = [torch.full((1 + COUNT,), same[name]) for name in ("gain", "offset", "texture")]
    for values, neutral in zip(by_label, (1.0, 0.0, 1.0), strict=True):
        values[0] = neutral
    return PhaseChange(*by_label, torch.tensor(same["vessels"]))


def inner(labels: torch.Tensor, organ: int) -> np.ndarray:
    """Voxels whose neighbours are all of the organ, or all of the background (0); the volume ends nothing."""
    return ndimage.binary_erosion(labels[0, 0].numpy() == organ, np.ones((3, 3, 3)), border_value=1)


def test_a_phase_that_changes_nothing_changes_nothing():
    hu, labels = body()
    torch.testing.assert_close(phase().apply(hu, labels), hu, rtol=0, atol=1e-4)


def test_without_contrast_medium_organs_have_their_plain_values_on_average_and_keep_half_of_their_texture():
    hu, labels = body()
    changed = phase(gain=0, texture=0.5).apply(hu, labels)[0, 0].numpy()
    aorta = inner(labels, AORTA)
    np.testing.assert_allclose(changed[aorta], PLAIN_HU[AORTA - 1], atol=1e-3)
    liver_mean = LIVER_HU + 50 * 27 / (9 * 10 * 10)
    parenchyma = PLAIN_HU[LIVER - 1] + 0.5 * (LIVER_HU - liver_mean)
    assert changed[3, 3, 3] == pytest.approx(parenchyma, abs=1e-3)
    assert changed[6, 6, 6] == pytest.approx(parenchyma + 25, abs=1e-3)
    np.testing.assert_allclose(changed[inner(labels, 0)], BACKGROUND_HU, atol=1e-4)


def test_the_offset_is_added_and_fades_out_over_a_voxel_at_the_border():
    hu, labels = body()
    added = (phase(offset=30).apply(hu, labels) - hu)[0, 0].numpy()
    np.testing.assert_allclose(added[inner(labels, AORTA)], 30, atol=1e-3)
    # On the aorta's face a third of the neighbours is fat, one voxel outside two thirds.
    assert added[13, 6, 9] == pytest.approx(20, abs=1e-3)
    assert added[12, 6, 9] == pytest.approx(10, abs=1e-3)
    assert np.abs(np.diff(added[10:16, 6, 9])).max() <= 10 + 1e-3


def test_unlabelled_vessels_fade_and_fat_and_bone_stay():
    values = torch.tensor([-100.0, 20, 60, 140, 199, 300, 400, 1000]).view(1, 1, 8, 1, 1).expand(-1, -1, -1, 3, 3)
    labels = torch.zeros_like(values, dtype=torch.uint8)
    faint = phase(vessels=0.25).apply(values, labels)[0, 0, :, 1, 1].tolist()
    assert faint[:3] == [-100, 20, 60]
    assert faint[3] == pytest.approx(60 + 80 / 4)
    assert faint[-2:] == [400, 1000]
    assert sorted(faint) == faint  # no tissue becomes brighter than what was brighter than it


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31))
def test_random_phases_are_within_what_subjects_have(seed):
    drawn = PhaseChange.random(torch.Generator().manual_seed(seed))
    again = PhaseChange.random(torch.Generator().manual_seed(seed))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert (drawn.gain[0], drawn.offset[0], drawn.texture[0]) == (1, 0, 1)
    assert ((drawn.gain >= 0) & (drawn.gain <= 1.3)).all()
    assert 0 <= drawn.vessels <= 1 or drawn.gain[LIVER] > 1
    kidneys = drawn.offset[2] - drawn.offset[3]
    assert abs(kidneys) < 0.15 * (abs(drawn.offset[2]) + 5 * 30)


def test_a_quarter_has_no_contrast_medium_and_the_vessels_differ_most():
    drawn = [PhaseChange.random(torch.Generator().manual_seed(seed)) for seed in range(800)]
    none = sum(bool(one.gain[LIVER] == 0) for one in drawn)
    assert 150 < none < 250  # 200 expected, with a standard deviation of 12
    spread = torch.stack([one.offset for one in drawn]).std(0)
    assert spread[AORTA] > spread[SPLEEN] > 0
    assert spread[AORTA] == spread.max()
