import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image

AFFINE = np.array([[0.9, 0.4, 0, 60.0], [-0.4, 0.95, 0.1, -45.0], [0, -0.1, 1.1, 40.0], [0, 0, 0, 1]])
GRID = Grid.axis_aligned((-60, -70, -50), (60, 70, 50), (4, 4, 5), "RAS")
OTHER = Grid.axis_aligned((20, -95, 5), (90, 10, 80), (5, 4, 4), "LPS")


def bump(points):
    return np.array([9.0, -7.0, 6.0]) * np.exp(-((points / 25) ** 2).sum(axis=-1, keepdims=True))


def transform(grid, displacement):
    return Transform(displacement(grid.points().astype(np.float64)).astype(np.float32), grid)


def test_of_an_affine_the_inverse_is_the_inverse_matrix():
    forward = transform(GRID, lambda points: apply_matrix(AFFINE, points) - points)
    back = forward.inverse(OTHER)
    points = OTHER.points().astype(np.float64)
    expected = apply_matrix(np.linalg.inv(AFFINE), points)
    within = (
        np.abs(GRID.world_to_voxel(expected) - (np.array(GRID.size) - 1) / 2) <= (np.array(GRID.size) - 1) / 2
    ).all(-1)
    assert within.mean() > 0.5
    np.testing.assert_allclose((points + back.displacement_mm)[within], expected[within], atol=0.01)


def test_there_and_back_is_where_it_began(grid):
    """For a strong bump after an affine that turns by 23 degrees, on any grid."""
    fine = Grid.axis_aligned((-70, -80, -60), (70, 80, 90), (3, 3, 3), "LPS")
    forward = transform(fine, lambda points: apply_matrix(AFFINE, points + bump(points)) - points)
    inside = Grid(grid.size, grid.spacing, grid.origin, grid.direction)
    moved = apply_matrix(AFFINE, inside.points().reshape(-1, 3).astype(np.float64))
    back = forward.inverse(Grid.axis_aligned(tuple(moved.min(0)), tuple(moved.max(0)), (4, 4, 4), "LPS"))
    points = back.grid.points().reshape(-1, 3)
    found = points + back.displacement_mm.reshape(-1, 3)
    np.testing.assert_allclose(forward.transform_points(found), points, atol=0.01)


def test_simpleitk_finds_the_same_inverse():
    forward = transform(GRID, bump)
    field = forward.to_sitk().GetDisplacementField()
    theirs = sitk.InvertDisplacementField(
        field, maximumNumberOfIterations=200, meanErrorToleranceThreshold=1e-5, maxErrorToleranceThreshold=1e-3
    )
    ours = forward.inverse(GRID)
    difference = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0, 3) - ours.displacement_mm
    assert np.abs(difference)[3:-3, 3:-3, 3:-3].max() < 0.05


def test_where_it_folds_the_inverse_says_so():
    def folded(points):
        x = points[..., :1]
        return np.concatenate([-30 * np.sin(x / 12), np.zeros((*x.shape[:-1], 2))], axis=-1)

    with pytest.warns(UserWarning, match="no inverse at .* of the points"):
        transform(OTHER, folded).inverse(OTHER)


def test_the_grid_is_that_of_the_scan_which_the_transform_takes():
    scans = {"fixed": KnownScan(GRID, "1"), "moving": KnownScan(OTHER, "2")}
    known = transform(GRID, bump)
    known = Transform(known.displacement_mm, GRID, Provenance("moving", "fixed", scans))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = known.inverse()
    assert back.grid == OTHER
    assert back.provenance is not None
    assert (back.provenance.source, back.provenance.target) == ("fixed", "moving")
    with pytest.raises(InputError, match="not known"):
        transform(GRID, bump).inverse()


def test_other_libraries_take_points_and_images_to_the_same_place(tmp_path):
    ants = pytest.importorskip("ants")
    forward = transform(GRID, lambda points: bump(points) + [3.0, -2.0, 1.0])
    point = (12.0, -30.0, 20.0)
    expected = forward.transform_points([point])[0]
    np.testing.assert_allclose(forward.to_sitk().TransformPoint(point), expected, atol=1e-3)
    np.testing.assert_allclose(forward.to_ants().apply_to_point(point), expected, atol=1e-3)
    moving = Image((np.cos(GRID.points() / 20).sum(-1) * 100).astype(np.float32), GRID)
    ours = forward.transform_image(moving, outside=0)
    warped = forward.to_ants().apply_to_image(moving.to_ants(), ours.to_ants(), interpolation="linear")
    assert np.percentile(np.abs(Image.of(warped).array - ours.array), 95) < 0.1
    nibabel.save(forward.to_nibabel(), tmp_path / "field.nii.gz")
    loaded = Transform.load(tmp_path / "field.nii.gz")
    assert loaded.grid.is_close(GRID)
    np.testing.assert_array_equal(loaded.displacement_mm, forward.displacement_mm)
    applied = ants.apply_transforms(ours.to_ants(), moving.to_ants(), [str(tmp_path / "field.nii.gz")]).numpy()
    assert np.percentile(np.abs(applied - ours.array), 95) < 0.1


def test_onto_another_grid_it_is_known_to_be_of_no_scan():
    scans = {"fixed": KnownScan(GRID, "1"), "moving": KnownScan(OTHER, "2")}
    known = Transform(transform(GRID, bump).displacement_mm, GRID, Provenance("moving", "fixed", scans))
    elsewhere = Grid.axis_aligned((-20, -30, -10), (20, 30, 10), (5, 5, 5), "LPS")
    back = known.inverse(elsewhere)
    assert back.grid == elsewhere
    assert back.provenance is None
