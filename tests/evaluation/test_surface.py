"""Surface distances against DeepMind's package, and against distances known by hand."""

import numpy as np
import pytest
from scipy import ndimage

from mics.evaluation.surface import cell_areas, surface_distances


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1.5, 5.0)])
def test_area_of_every_kind_of_cell_matches_deepmind(spacing):
    tables = pytest.importorskip("surface_distance.lookup_tables")
    theirs = tables.create_table_neighbour_code_to_surface_area(spacing)
    corners = (np.arange(256)[:, None] >> np.arange(8) & 1).reshape(256, 2, 2, 2)
    their_codes = (corners * tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(cell_areas(spacing), theirs[their_codes], atol=1e-12)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.0, 1.0, 3.5)])
def test_hausdorff_and_mean_match_deepmind_on_ragged_blobs(seed, spacing):
    package = pytest.importorskip("surface_distance")
    rng = np.random.default_rng(seed)
    a, b = (ndimage.gaussian_filter(rng.standard_normal((24, 20, 28)), 2) > 0.05 for _ in range(2))
    expected, ours = package.compute_surface_distances(a, b, spacing), surface_distances(a, b, spacing)
    assert ours.mean() == pytest.approx(np.mean(package.compute_average_surface_distance(expected)), abs=1e-9)
    for percent in (50, 95, 100):
        theirs = package.compute_robust_hausdorff(expected, percent)
        assert ours.hausdorff(percent) == pytest.approx(theirs, abs=1e-9)


def test_two_parallel_slabs_are_their_gap_apart():
    volume = np.zeros((30, 10, 10), dtype=bool)
    a, b = volume.copy(), volume.copy()
    a[4:8], b[11:15] = True, True
    # The far face of each slab lies 4 + 3 voxels from the near face of the other.
    assert surface_distances(a, b, (2, 1, 1)).hausdorff(100) == 2 * 7


def test_weighting_by_area_lets_a_speck_not_count():
    a = np.zeros((40, 20, 20), dtype=bool)
    a[2:18, 2:18, 2:18] = True
    b = a.copy()
    b[35, 10, 10] = True
    assert surface_distances(a, b, (1, 1, 1)).hausdorff(95) == 0
    assert surface_distances(a, b, (1, 1, 1)).hausdorff(100) > 15


def test_an_empty_mask_has_no_distances():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    assert surface_distances(mask, ~mask & False, (1, 1, 1)) is None


def test_surface_at_the_border_of_the_volume_counts():
    full = np.ones((6, 6, 6), dtype=bool)
    half = full.copy()
    half[3:] = False
    assert surface_distances(full, half, (1, 1, 1)).hausdorff(100) == 3
