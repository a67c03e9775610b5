import numpy as np
import pytest

from mics.report.planes import three_planes
from mics.report.sheets import centre_voxel, cut, shown_planes

SCALE, SHIFT = np.array([1.25, 1.0, 0.8]), np.array([4.3, -3.2, 2.4])


def hu(points):
    return 2 * points[..., 0] + 3 * points[..., 1] - points[..., 2]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("voxel", [(0, 0, 0), (20, 17, 9), (40, 32, 20)])
def test_pictures_agree_with_the_formula(registration, number, voxel):
    plane = three_planes(registration.fixed.grid, np.array(voxel))[number]
    sheets = cut(registration, plane)
    points = plane.picture(registration.fixed.grid.points())
    moved, shifted = points * SCALE + SHIFT, points + SHIFT

    np.testing.assert_allclose(sheets.fixed, hu(points), atol=1e-3)
    np.testing.assert_allclose(sheets.position_mm, moved[..., [plane.horizontal, plane.vertical]], atol=1e-3)
    np.testing.assert_allclose(sheets.jacobian, SCALE.prod(), atol=1e-3)
    np.testing.assert_allclose(sheets.octaves, np.log2(SCALE.prod()), atol=1e-3)
    lower, upper = np.array([-61, -46.5, -19]), np.array([71, 46.5, 41])  # the moving voxels' full extent
    for picture, place in ((sheets.warped, moved), (sheets.affine, shifted)):
        has_data = np.all((place > lower) & (place < upper), axis=-1)
        deep = np.all((place > lower + 2) & (place < upper - 2), axis=-1)
        np.testing.assert_array_equal(np.isnan(picture), ~has_data)
        np.testing.assert_allclose(picture[deep], hu(place)[deep], atol=2e-2)
    if plane.name != "axial":
        assert 0 < np.isnan(sheets.warped).mean() < 0.5


def test_labels_are_cut_where_the_images_are(registration):
    plane = three_planes(registration.fixed.grid, centre_voxel(registration))[1]
    sheets = cut(registration, plane)
    points = plane.picture(registration.fixed.grid.points())
    np.testing.assert_array_equal(sheets.fixed_labels, np.linalg.norm(points - (5, 0, 8), axis=-1) < 12)
    for labels, place in ((sheets.affine_labels, points + SHIFT), (sheets.warped_labels, points * SCALE + SHIFT)):
        radius = np.linalg.norm(place, axis=-1)
        assert np.all(labels[radius < 9] == 1)
        assert np.all(labels[radius > 15] == 0)
        assert (radius < 9).any()


def test_without_labels_there_are_none_and_the_middle_is_that_of_the_tissue(registration):
    registration.fixed_labels = registration.moving_labels = registration.moving_labels_warped = None
    points = registration.fixed.grid.points()
    tissue = np.linalg.norm(points - (-8, 6, 3), axis=-1) < 20
    registration.fixed.array[:] = np.where(tissue, 40, -1000)
    centre = registration.fixed.grid.voxel_to_world(centre_voxel(registration))
    np.testing.assert_allclose(centre, (-8, 6, 3), atol=4)
    sheets = cut(registration, three_planes(registration.fixed.grid, centre_voxel(registration))[0])
    assert sheets.fixed_labels is sheets.affine_labels is sheets.warped_labels is None


def test_the_middle_of_labels_is_shown(registration):
    centre = registration.fixed.grid.voxel_to_world(centre_voxel(registration))
    np.testing.assert_allclose(centre, (5, 0, 8), atol=4)


def test_the_share_of_the_affine_is_no_change_of_volume(registration):
    registration.affine[:3, :3] = np.diag([2.0, 1.0, 1.0])
    sheets = cut(registration, three_planes(registration.fixed.grid, np.array([20, 17, 9]))[0])
    np.testing.assert_allclose(sheets.octaves, -1, atol=1e-3)


def test_three_axial_planes_from_head_to_foot_pass_through_the_labels(registration):
    *axial, coronal, sagittal = shown_planes(registration)
    assert [plane.name for plane in (*axial, coronal, sagittal)] == ["axial"] * 3 + ["coronal", "sagittal"]
    heights = [registration.fixed.grid.voxel_to_world((0, 0, plane.index))[2] for plane in axial]
    assert heights == sorted(heights, reverse=True)
    assert all(plane.picture(registration.fixed_labels.array).any() for plane in axial)
