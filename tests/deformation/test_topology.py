"""No fold in what is delivered, told by tetrahedra that are cut and measured here, and by SimpleITK's reading of the file."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mics.deformation import folds, topology, unfold
from mics.deformation.jacobian import fold_share, jacobian_determinant, nondiffeomorphic_volume
from mics.deformation.topology import preserve_topology
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid, apply_matrix

BOUND = 0.01
"""What docs/topology.md promises of every determinant, where the affine does not shrink."""
UNIT = Grid((16, 9, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
AFFINE = np.array([[1.1, 0.1, 0, 30.0], [-0.05, 0.9, 0.02, -45.0], [0, -0.03, 1.2, 40.0], [0, 0, 0, 1]])


def displaced(grid, change_mm=0.0, affine=None):
    """The affine, and `change_mm` (X, Y, Z, 3) on top of it."""
    points = grid.points().astype(float)
    rest = 0 if affine is None else apply_matrix(affine, points) - points
    return Transform((np.zeros((*grid.size, 3)) + rest + change_mm).astype(np.float32), grid)


def bumps(grid, size_mm, sigma, seed=0):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(*grid.size, 3)), (sigma,) * 3 + (0,))
    return size_mm * noise / np.abs(noise).max()


def checkerboard(grid, height):
    """Neighbours along the first axis pushed past each other in turn, away from the border."""
    push = np.zeros((*grid.size, 3))
    inner = tuple(slice(3, n - 3) for n in grid.size)
    push[(*inner, 0)] = height * (1 - 2 * (np.indices(grid.size).sum(axis=0) % 2))[inner]
    return push


def least_volumes(displacement_mm, grid):
    """Smallest ratio of signed volumes, after to before, over all ten tetrahedra of all cells; and by central differences."""
    before = grid.points().astype(float)
    after = before + displacement_mm
    corners = list(itertools.product((0, 1), repeat=3))
    ratios = []
    for parity in (0, 1):
        middle = [c for c in corners if sum(c) % 2 == parity]
        others = [c for c in corners if c not in middle]
        near = [[c, *(m for m in middle if np.abs(np.subtract(m, c)).sum() == 1)] for c in others]
        for vertices in [middle, *near]:
            parts = [tuple(slice(o, n - 1 + o) for o, n in zip(v, grid.size, strict=True)) for v in vertices]
            signed = [
                np.linalg.det(np.stack([points[part] - points[parts[0]] for part in parts[1:]], axis=-1))
                for points in (after, before)
            ]
            ratios.append((signed[0] / signed[1]).min())
    slopes = [np.stack(np.gradient(points, axis=(0, 1, 2)), axis=-1) for points in (after, before)]
    central = np.linalg.det(slopes[0]) / np.linalg.det(slopes[1])
    return min(ratios), central.min()


def assert_kept(result, certificate, bound=BOUND):
    tetrahedron, central = least_volumes(result.displacement_mm.astype(float), result.grid)
    assert tetrahedron > bound - 1e-5  # the product looks at single precision
    assert central > bound - 1e-5
    assert certificate.least_tetrahedron == pytest.approx(tetrahedron, abs=1e-4)
    assert certificate.least_central == pytest.approx(central, abs=1e-4)
    voxels = result.displacement_voxels()
    assert jacobian_determinant(voxels).min() > 0
    assert nondiffeomorphic_volume(voxels) == 0
    assert (certificate.folds_after, certificate.ndv_percent_after) == (0, 0)


def test_without_a_fold_nothing_changes_but_what_the_file_rounds(grid, tmp_path):
    smooth = displaced(grid, bumps(grid, 3.0, 4), AFFINE)
    result, certificate = preserve_topology(smooth, AFFINE)
    smooth.save(tmp_path / "field.nii.gz")
    assert np.array_equal(result.displacement_mm, Transform.load(tmp_path / "field.nii.gz").displacement_mm)
    assert (certificate.voxels_changed, certificate.largest_change_mm, certificate.mean_change_mm) == (0, 0, 0)
    assert_kept(result, certificate)
    again, _ = preserve_topology(result, AFFINE)
    assert np.array_equal(again.displacement_mm, result.displacement_mm)


def test_two_planes_that_cross_move_half_the_overlap_each():
    """Slices 7 and 8, as wide as the grid, pushed past each other by 0.6 voxel: with the smallest change, 0.3 each."""
    push = np.zeros((*UNIT.size, 3))
    push[7, ..., 0], push[8, ..., 0] = 0.8, -0.8
    result, certificate = preserve_topology(displaced(UNIT, push), np.eye(4))
    assert_kept(result, certificate)
    change = result.displacement_mm - push
    assert certificate.largest_change_mm == pytest.approx(0.3, abs=0.04)
    np.testing.assert_allclose(change[7, ..., 0], -0.3, atol=0.04)
    np.testing.assert_allclose(change[8, ..., 0], 0.3, atol=0.04)
    assert np.abs(change[[*range(7), *range(9, 16)]]).max() < 0.02
    assert certificate.folds_before == 0  # central differences of neighbours two apart still have their order
    assert certificate.ndv_percent_before > 0


@pytest.mark.parametrize("least", [0.0095, 1e-3, 1e-5])
def test_what_nearly_folds_is_opened_to_a_hundredth(least):
    """Slices 7 and 8 pushed towards each other until all but `least` of the space between them is gone."""
    push = np.zeros((*UNIT.size, 3))
    push[7, ..., 0] = 1 - least
    assert least_volumes(push, UNIT)[0] == pytest.approx(least)
    result, certificate = preserve_topology(displaced(UNIT, push), np.eye(4))
    assert certificate.voxels_changed > 0
    assert (certificate.folds_before, certificate.ndv_percent_before) == (0, 0)
    assert_kept(result, certificate)


def test_what_is_above_a_hundredth_stays():
    push = np.zeros((*UNIT.size, 3))
    push[7, ..., 0] = 1 - 3 / 256  # a multiple of what the file rounds to, the least above a hundredth
    result, certificate = preserve_topology(displaced(UNIT, push), np.eye(4))
    assert np.array_equal(result.displacement_mm, push)
    assert certificate.least_tetrahedron == pytest.approx(3 / 256)


@pytest.mark.parametrize(("left", "stays"), [(1 / 256, False), (2 / 256, True)])
def test_where_the_affine_shrinks_the_bound_is_a_hundredth_of_it(left, stays):
    """Half as long along each axis, and slices 7 and 8 pushed together until `left` mm of their half are left."""
    shrinking = np.diag([0.5, 0.5, 0.5, 1])
    push = np.zeros((*UNIT.size, 3))
    push[7, ..., 0] = 0.5 - left
    start = displaced(UNIT, push, shrinking)
    assert least_volumes(start.displacement_mm.astype(float), UNIT)[0] == pytest.approx(left / 4)
    result, certificate = preserve_topology(start, shrinking)
    assert_kept(result, certificate, BOUND / 8)
    assert (certificate.voxels_changed == 0) == stays


def test_a_checkerboard_that_central_differences_miss():
    folded = displaced(UNIT, checkerboard(UNIT, 0.7))
    assert nondiffeomorphic_volume(folded.displacement_voxels()) > 0
    result, certificate = preserve_topology(folded, np.eye(4))
    assert_kept(result, certificate)
    assert certificate.voxels_changed > 0
    assert certificate.largest_change_mm < 0.7


def test_the_change_is_near_the_fold_and_counted():
    grid = Grid((40, 14, 12), (1.5, 1.0, 2.0), (5.0, 6.0, 7.0))
    push = np.zeros((*grid.size, 3))
    push[8:12, 5:9, 4:8, 0] = 4.0
    folded = displaced(grid, push, AFFINE)
    result, certificate = preserve_topology(folded, AFFINE)
    assert_kept(result, certificate)
    change = np.linalg.norm(result.displacement_mm - topology.as_stored(folded.displacement_mm), axis=-1)
    assert not change[25:].any()
    assert change.max() < 4.0
    assert certificate.voxels_changed == (change > 0).sum() > 0
    assert certificate.largest_change_mm == pytest.approx(change.max(), rel=1e-4)
    assert certificate.mean_change_mm == pytest.approx(change[change > 0].mean(), rel=1e-4)
    assert certificate.folds_before == fold_share(folded.displacement_voxels()) > 0


@pytest.mark.parametrize("place", [(0, 4, 4), (15, 8, 7), (15, 0, 0)], ids=str)
def test_a_fold_at_the_border(place):
    push = np.zeros((*UNIT.size, 3))
    push[place] = 1.7 * np.where(np.array(place) < np.array(UNIT.size) / 2, 1, -1)
    result, certificate = preserve_topology(displaced(UNIT, push), np.eye(4))
    assert_kept(result, certificate)


def test_strong_folds_on_any_grid_in_any_orientation_and_in_the_file(grid, tmp_path):
    folded = displaced(grid, bumps(grid, 11.0, 2), AFFINE)
    assert fold_share(folded.displacement_voxels()) > 0.001
    result, certificate = preserve_topology(folded, AFFINE)
    assert_kept(result, certificate)
    result.save(tmp_path / "field.nii.gz")
    read = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    stored = sitk.GetArrayFromImage(read).transpose(2, 1, 0, 3)
    assert np.array_equal(stored, result.displacement_mm)
    assert min(least_volumes(stored, grid)) > 0


@pytest.mark.parametrize("seed", range(4))
def test_what_folds_nearly_everywhere_ends_too(seed):
    """Displacements as large as the grid, from smooth to noise; the smallest determinants are far from each other."""
    grid = Grid((9, 8, 8), (1.0, 1.5, 3.0), (0.0, 0.0, 0.0))
    folded = displaced(grid, bumps(grid, (30, 15, 30, 200)[seed], (2, 1, 0.5, 0)[seed], seed))
    assert nondiffeomorphic_volume(folded.displacement_voxels()) > 1
    result, certificate = preserve_topology(folded, np.eye(4))
    assert_kept(result, certificate)
    assert certificate.ndv_percent_before > 1


def test_more_than_can_be_minimised_is_smoothed_where_it_folds(monkeypatch):
    monkeypatch.setattr(unfold, "_MAX_DETERMINANTS", 0)
    grid = Grid((60, 14, 12), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    push = np.zeros((*grid.size, 3))
    push[8:12, 5:9, 4:8, 0] = 2.5
    push[45:, ..., 1] += (
        0.2 * np.arange(15)[:, None, None]
    )  # nothing folds here: the last resort alone would take of it
    result, certificate = preserve_topology(displaced(grid, push, AFFINE), AFFINE)
    assert_kept(result, certificate)
    change = np.linalg.norm(result.displacement_mm - displaced(grid, push, AFFINE).displacement_mm, axis=-1)
    assert change[45:].max() < 1 / 256
    assert change.max() > 0.2


def test_the_last_resort_is_the_affine_and_a_share_of_the_rest(monkeypatch):
    monkeypatch.setattr(unfold, "_MAX_DETERMINANTS", 0)
    monkeypatch.setattr(topology, "_smooth", lambda *arguments: None)
    folded = displaced(UNIT, bumps(UNIT, 5.0, 1), AFFINE)
    result, certificate = preserve_topology(folded, AFFINE)
    assert_kept(result, certificate)
    rest = displaced(UNIT, affine=AFFINE).displacement_mm
    shares = ((result.displacement_mm - rest) / (folded.displacement_mm - rest))[
        np.abs(folded.displacement_mm - rest) > 1
    ]
    assert 0.05 < shares.mean() < 0.9
    assert np.ptp(shares) < 0.02


def test_an_affine_that_mirrors_is_refused(grid):
    with pytest.raises(InputError, match="mirrors or flattens"):
        preserve_topology(displaced(grid), np.diag([-1.0, 1, 1, 1]))


def test_a_grid_too_thin_to_tell():
    thin = Grid((5, 5, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="three voxels"):
        preserve_topology(displaced(thin), np.eye(4))


def pairs(index):
    """Kind and voxel of every determinant."""
    return np.stack([index.kind, index.voxel])


def test_pieces_leave_no_seam(monkeypatch, grids):
    grid = grids["oblique_left_handed"]
    field = topology._field(displaced(grid, bumps(grid, 14.0, 2)))
    whole = folds.find_folds(field, 0.2, field.everywhere)
    monkeypatch.setattr(folds, "_PIECE_VOXELS", 700)
    parts = folds.find_folds(field, 0.2, field.everywhere)
    assert np.array_equal(pairs(whole.folded), pairs(parts.folded))
    assert (whole.tetrahedron, whole.central) == (parts.tetrahedron, parts.central)
    assert len(whole.folded) > 100


@given(i=st.integers(0, 21), j=st.integers(0, 20), k=st.integers(0, 14), push=st.floats(-6, 6), axis=st.integers(0, 2))
@example(i=9, j=5, k=7, push=3.0, axis=0)
@example(i=10, j=5, k=7, push=3.0, axis=0)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_a_change_of_any_voxel_the_look_is_that_of_the_whole_field(grids, i, j, k, push, axis):
    """Pieces are two planes thick here: half of the changes lie beside a seam."""
    grid = grids["oblique_left_handed"]
    original = displaced(grid, bumps(grid, 14.0, 2))
    changed = Transform(original.displacement_mm.copy(), grid)
    changed.displacement_mm[i, j, k, axis] += push
    field = topology._field(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "_PIECE_VOXELS", 700)
        overview = folds.FoldSurvey.of(topology._field(original), 0.2)
        after = overview.after(field, 0.2, topology._changed(changed, original)).report
    afresh = folds.find_folds(field, 0.2, field.everywhere)
    assert np.array_equal(pairs(after.folded), pairs(afresh.folded))
    assert (after.tetrahedron, after.central) == (afresh.tetrahedron, afresh.central)


def test_only_pieces_around_a_change_are_looked_at_again_and_nothing_is_missed(monkeypatch, grids):
    grid = grids["oblique_left_handed"]
    monkeypatch.setattr(folds, "_PIECE_VOXELS", 700)
    original = displaced(grid, bumps(grid, 14.0, 2))
    overview = folds.FoldSurvey.of(topology._field(original), 0.2)
    changed = Transform(original.displacement_mm.copy(), grid)
    changed.displacement_mm[9, 5, 7] += 3
    looked_at = []
    look = folds._find_folds
    monkeypatch.setattr(folds, "_find_folds", lambda *arguments: looked_at.append(arguments) or look(*arguments))
    after = overview.after(topology._field(changed), 0.2, topology._changed(changed, original)).report
    assert 0 < len(looked_at) < len(overview.pieces)
    field = topology._field(changed)
    afresh = folds.find_folds(field, 0.2, field.everywhere)
    assert np.array_equal(pairs(after.folded), pairs(afresh.folded))
    assert not np.array_equal(pairs(after.folded), pairs(overview.report.folded))
    assert (after.tetrahedron, after.central) == (afresh.tetrahedron, afresh.central)


@pytest.mark.parametrize("at", [(9, 5, 7), (0, 0, 0)])
def test_folds_are_counted_as_by_the_functions_that_look_everywhere(grids, at):
    """In the middle and at the border, where differences are one-sided and the volume is not counted."""
    grid = grids["oblique"]
    folded = displaced(grid)
    folded.displacement_mm[at] += 9
    field = topology._field(folded)
    found = topology._folds(folded, folds.find_folds(field, 0.01, field.everywhere))
    voxels = folded.displacement_voxels()
    assert found == pytest.approx((fold_share(voxels), nondiffeomorphic_volume(voxels)), rel=1e-4)
    assert found[0] > 0


def test_determinants_are_those_that_were_looked_at(grids):
    """And the gradient of their penalty is the slope of its value."""
    grid = grids["oblique"]
    field = topology._field(displaced(grid, bumps(grid, 14.0, 2)))
    found = folds.find_folds(field, np.inf, field.everywhere)
    determinants = unfold.Determinants.of(field, found.folded)
    values = field.displacement_mm.reshape(-1, 3)[determinants.voxels].astype(float)
    # Only the smallest falls short of itself plus a little.
    least = min(found.tetrahedron, found.central)
    assert determinants.penalty(values, least - 1e-4)[0] == 0
    assert determinants.penalty(values, least + 1e-4)[0] > 0
    direction = np.random.default_rng(0).normal(size=values.shape)
    penalty, gradient = determinants.penalty(values, 0.5)
    ahead, behind = (determinants.penalty(values + step * direction, 0.5)[0] for step in (1e-5, -1e-5))
    assert penalty > 0
    assert (ahead - behind) / 2e-5 == pytest.approx((gradient * direction).sum(), rel=1e-4)


def test_boxes_hold_all_voxels_and_do_not_overlap():
    size = (30, 20, 10)
    voxels = np.ravel_multi_index(([2, 5, 20, 29], [3, 5, 10, 19], [1, 3, 5, 9]), size)
    boxes = folds.boxes_around(voxels, size, (2, 1, 1))
    covered = np.zeros(size, int)
    for box in boxes:
        covered[box] += 1
    assert covered.max() == 1
    assert len(boxes) == 3
    assert covered[0:5, 2:5, 0:3].all()
    assert covered[27:, 18:, 8:].all()
    assert folds.boxes_around(voxels[:0], size, (2, 1, 1)) == []
