"""Other tools' displacements in our convention, on a pair whose true map is a known affine between unlike grids."""

from importlib.util import find_spec

import numpy as np
import pytest

from mics.experiments.peers import ants_syn, greedy
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image

FIXED = Grid((30, 24, 26), (2.5, 3.5, 4.5), (20.0, -30.0, 5.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0))
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
    ("peer", "package", "tolerance"), [(greedy, "picsl_greedy", 0.15), (ants_syn, "ants", 0.35)], ids=["greedy", "ants"]
)
def test_both_directions_come_back_in_voxels_with_the_affine_in_them(peer, package, tolerance):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    fixed = Image(texture(apply_matrix(TRUE, FIXED.points())), FIXED)
    moving = Image(texture(MOVING.points()), MOVING)
    affine = TRUE.copy()
    affine[:3, 3] -= MISSING_MM
    result = peer(fixed, moving, affine)

    inner = (slice(None), *(slice(7, -7),) * 3)
    for found, source, target, given, true in (
        (result.forward, FIXED, MOVING, affine, TRUE),
        (result.backward, MOVING, FIXED, np.linalg.inv(affine), np.linalg.inv(TRUE)),
    ):
        expected = displacement(source, target, true)[inner]
        before = np.abs(displacement(source, target, given)[inner] - expected).mean()
        assert before > 3 * tolerance
        assert np.abs(found[inner] - expected).mean() < tolerance
    assert result.seconds > 0
