"""Other tools' displacements in our convention, on a pair whose true map is a known affine between unlike grids."""

import numpy as np
import pytest

from mics.experiments.baselines.methods import Choice, lacking, run
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image

FIXED = Grid((36, 34, 35), (2.1, 2.5, 3.3), (20.0, -30.0, 5.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0))
TRUE = np.array([[1.1, 0.25, 0, 8], [-0.2, 0.95, 0.1, -6], [0, 0.05, 1.15, 9], [0, 0, 0, 1]])
# Of another spacing and handedness, and around the place where the true map takes the fixed volume.
MOVING = Grid((40, 44, 38), (2.5, 2.5, 3.5), tuple(apply_matrix(TRUE, FIXED.centre) - (50, 55, 65)))
MISSING_MM = (5.0, -4.0, 7.0)


def texture(points):
    """A smooth random function of the place in the patient."""
    rng = np.random.default_rng(0)
    waves = [np.cos(points @ rng.normal(0, 0.12, 3) + rng.uniform(0, 2 * np.pi)) for _ in range(40)]
    return np.float32(30) * np.sum(waves, axis=0, dtype=np.float32)


def displacement(source, target, affine):
    """Displacement (3, X, Y, Z) in voxels of an affine map between two grids."""
    voxels = np.moveaxis(np.indices(source.size), 0, -1)
    return np.moveaxis(target.world_to_voxel(apply_matrix(affine, source.voxel_to_world(voxels))) - voxels, -1, 0)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("greedy", 0.2),
        ("ants-syn", 0.5),
        pytest.param("elastix", 0.5, marks=pytest.mark.nightly),
        ("convexadam", 0.5),
        ("dense-displacement", 0.5),
        ("fireants", 0.2),
        ("deeds", 0.5),
    ],
)
def test_displacements_come_back_in_voxels_with_the_affine_in_them(name, tolerance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if message := lacking(name, ""):
        pytest.skip(message)
    fixed = Image(texture(apply_matrix(TRUE, FIXED.points())), FIXED)
    moving = Image(texture(MOVING.points()), MOVING)
    affine = TRUE.copy()
    affine[:3, 3] -= MISSING_MM
    result = run(Choice(name), fixed, moving, affine)

    inner = (slice(None), *(slice(7, -7),) * 3)
    for found, source, target, given, true in (
        (result.forward, FIXED, MOVING, affine, TRUE),
        (result.backward, MOVING, FIXED, np.linalg.inv(affine), np.linalg.inv(TRUE)),
    ):
        if found is None:
            continue
        expected = displacement(source, target, true)[inner]
        before = np.abs(displacement(source, target, given)[inner] - expected).mean()
        assert before > 3 * tolerance
        assert np.abs(found[inner] - expected).mean() < tolerance
    assert result.seconds > 0
    assert list(tmp_path.iterdir()) == []
