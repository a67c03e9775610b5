import ants
import numpy as np
import pytest
import SimpleITK as sitk

from mics.image.grid import Grid, apply_matrix
from mics.registration.affine import matrix_of, register_affine

# From the fixed to the moving world: another person's size, slightly turned, on another scanner.
TRUE = np.array([[1.12, 0.06, 0.0, 30.0], [-0.05, 0.94, 0.04, -45.0], [0.02, -0.05, 1.0, 640.0], [0, 0, 0, 1]])
INSIDE = np.array([[-70.0, 0, 20], [85, 35, 40], [-55, 60, -50], [0, 80, 0], [60, -40, -60]])


@pytest.fixture(scope="module")
def pair(scan, oblique):
    fixed = Grid.axis_aligned((-180, -130, -130), (180, 140, 130), (4, 4, 5), "RAS")
    centre = apply_matrix(TRUE, fixed.centre) + (0, 0, 25)
    moving = oblique((100, 60, 115), (4.2, 5.0, 3.5), centre, (5, -4, 8), (-1, 1, -1), (0, 2, 1))
    return scan(fixed), scan(moving, np.linalg.inv(TRUE))


@pytest.fixture(scope="module")
def found(pair):
    return register_affine(*pair)


def test_a_known_affine_is_recovered_between_an_axis_aligned_and_an_oblique_scan(found):
    error = np.linalg.norm(apply_matrix(found, INSIDE) - apply_matrix(TRUE, INSIDE), axis=1)
    # Not millimetres: this patient is nearly the same all along the body. An unregistered start is 640 mm off.
    assert error.max() < 20
    assert error.mean() < 12


def test_it_is_the_same_every_time(pair, found):
    np.testing.assert_array_equal(register_affine(*pair), found)


def test_a_scan_onto_itself_stays(pair):
    points = pair[0].grid.corners()
    np.testing.assert_allclose(apply_matrix(register_affine(pair[0], pair[0]), points), points, atol=0.1)


def test_an_ants_file_becomes_the_matrix_that_itk_applies(tmp_path):
    transform = sitk.AffineTransform(3)
    transform.SetCenter((10.0, -20.0, 300.0))
    transform.SetMatrix((TRUE[:3, :3] * 1.1).ravel().tolist())
    transform.SetTranslation((4.0, 5.0, 6.0))
    path = str(tmp_path / "affine.mat")
    sitk.WriteTransform(transform, path)
    matrix = matrix_of(ants.read_transform(path))
    expected = [transform.TransformPoint(point) for point in INSIDE.tolist()]
    np.testing.assert_allclose(apply_matrix(matrix, INSIDE), expected, atol=1e-3)
