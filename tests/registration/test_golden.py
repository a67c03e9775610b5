"""Numbers that a registration of made-up patients gave once: another version of torch, numpy or SimpleITK must give them too.

The scans are a formula (conftest.py), so that no generator of random numbers stands between. golden.json holds where a shipped
network, or what ``refine`` makes of its prediction, takes 27 points of the fixed and of the moving scan, in LPS mm, from the
true affine. A change that is meant to change results writes it anew, of what the failing test prints.

The tolerances lie between what rounding does and what a fault does. Rounding: on one and on two threads of one processor, whose
sums are added in another order, the points end less than 0.001 mm apart, refined or not; everything is computed in float32 here,
whatever the processor is fastest in. A fault: an interpolation with another idea of where voxels lie moves points by half a voxel
of the network, which is 4 mm; another padding, normalisation or sign by more. Less than the tolerance is not held to be one.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from mics.registration.register import register

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
MEAN_MM, LARGEST_MM = 0.05, 0.5


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    monkeypatch.setattr("mics.network.precision.half_precision_pays", lambda _: False)


def points(grid):
    """27 points in the inner half of a grid, LPS mm."""
    last = np.array(grid.size) - 1
    steps = np.stack(np.meshgrid(*[(0.3, 0.5, 0.7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid.voxel_to_world(steps * last)


def measured(patients, affine, refine):
    """Where points of both scans go, LPS mm, and the mean Dice."""
    result = register(**patients, affine=affine, model="mics-fast", refine=refine, device="cpu")
    return {
        "fixed_points_to_moving": result.moving_to_fixed.transform_points(points(result.fixed.grid)).tolist(),
        "moving_points_to_fixed": result.fixed_to_moving.transform_points(points(result.moving.grid)).tolist(),
        "mean_dice": result.summary["labels"]["moving_to_fixed"]["mean_dice"],
    }


def compare(found, expected):
    for name in ("fixed_points_to_moving", "moving_points_to_fixed"):
        apart = np.linalg.norm(np.array(found[name]) - expected[name], axis=1)
        assert apart.mean() < MEAN_MM, f"{name}: {apart.mean():.3f} mm apart in the mean; now {found}"
        assert apart.max() < LARGEST_MM, f"{name}: {apart.max():.3f} mm apart at most; now {found}"
    assert found["mean_dice"] == pytest.approx(expected["mean_dice"], abs=0.02)


def test_the_network_gives_what_it_gave(patients, known_map):
    compare(measured(patients, known_map.affine, "none"), GOLDEN["none"])


@pytest.mark.nightly
def test_the_refinement_gives_what_it_gave(patients, known_map):
    compare(measured(patients, known_map.affine, "fast"), GOLDEN["fast"])
