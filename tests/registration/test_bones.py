"""Bones are found where contrast medium is as dense as they are."""

import numpy as np
import pytest

from mics.registration.bones import bone_mask

SPACING = 2.0
PLACES = np.stack(np.meshgrid(*[SPACING * (np.arange(n) - n / 2) for n in (60, 50, 40)], indexing="ij"), axis=-1)


def tube(x: float, y: float, radius: float) -> np.ndarray:
    return np.hypot(PLACES[..., 0] - x, PLACES[..., 1] - y) <= radius


VERTEBRA, MARROW, VESSEL = tube(0, 25, 14), tube(0, 25, 10), tube(-5, -5, 10)
KIDNEY = np.linalg.norm(PLACES - (35, 10, 0), axis=-1) <= 15


def scan(*, cortex: float = 700, marrow: float = 130, vessel: float = 280, kidney: float = 220) -> np.ndarray:
    hu = np.full(PLACES.shape[:-1], 40, np.float32)
    hu[VERTEBRA], hu[MARROW], hu[VESSEL], hu[KIDNEY] = cortex, marrow, vessel, kidney
    return hu


@pytest.mark.parametrize("cut", [3000, 275])
@pytest.mark.parametrize("contrast", [180, 250])
def test_enhanced_vessels_are_no_bone_and_marrow_is(cut, contrast):
    hu = np.clip(scan(vessel=contrast, kidney=contrast), -125, cut)
    found = bone_mask(hu, SPACING, np.zeros(hu.shape, bool))
    assert found[VERTEBRA & ~MARROW].mean() > 0.99
    assert found[~VERTEBRA].mean() < 0.01


def test_organs_are_no_bone_however_dense():
    hu = scan(kidney=600)
    assert bone_mask(hu, SPACING, np.zeros(hu.shape, bool))[KIDNEY].mean() > 0.9
    assert bone_mask(hu, SPACING, KIDNEY)[KIDNEY].sum() == 0


def test_a_thin_rib_is_found_with_its_marrow():
    hu = np.full(PLACES.shape[:-1], 40, np.float32)
    rib, inside = tube(10, 10, 6), tube(10, 10, 2.5)
    hu[rib], hu[inside] = 500, 100
    found = bone_mask(hu, SPACING, np.zeros(hu.shape, bool))
    assert found[rib].mean() > 0.95
    assert found[~rib].mean() < 0.02


def test_without_anything_dense_there_is_none():
    hu = np.full((10, 10, 10), 40, np.float32)
    assert not bone_mask(hu, SPACING, np.zeros(hu.shape, bool)).any()
