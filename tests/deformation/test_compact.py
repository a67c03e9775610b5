import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.compact import compacted, on_own_lattice
from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid

AFFINE = np.array([[0.9, 0.1, 0, 12.0], [-0.1, 0.95, 0.1, -9.0], [0, -0.1, 1.1, 4.0], [0, 0, 0, 1]])
TURN = np.eye(4)  # a third larger, turned and shifted
TURN[:3, :3] = 1.3 * Rotation.from_euler("xyz", (4, -7, 12), degrees=True).as_matrix()
TURN[:3, 3] = 5, -4, 3
LATTICE = Grid((14, 13, 12), (4.0, 4.0, 4.0), (-26.0, -24.0, -2.0))


@pytest.fixture
def field():
    """Both directions, rough from voxel to voxel, centimetres."""
    torch.manual_seed(0)
    both = [torch.randn(1, 3, *LATTICE.size) for _ in range(2)]
    return BidirectionalField(moving_to_fixed=both[0], fixed_to_moving=both[1], grid=LATTICE)


def test_the_fields_own_grid_holds_the_whole_direction_onto_the_fixed_scan(field, grid):
    """Whatever the scan's orientation, also beyond the field's grid."""
    exact = field.to_transforms(fixed=grid, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    coarse = on_own_lattice(field, grid, to_fixed=TURN, to_moving=AFFINE)
    np.testing.assert_allclose(coarse.resampled(grid).displacement_mm, exact.displacement_mm, atol=2e-3)


def test_the_other_direction_is_that_of_the_field_the_other_way_round(field, grid):
    exact = field.to_transforms(fixed=LATTICE, moving=grid, to_fixed=AFFINE, to_moving=TURN).fixed_to_moving
    coarse = on_own_lattice(field.swap(), grid, to_fixed=TURN, to_moving=AFFINE)
    np.testing.assert_allclose(coarse.resampled(grid).displacement_mm, exact.displacement_mm, atol=2e-3)


@pytest.mark.parametrize("matrix", [AFFINE, np.diag([1.0, 1.0, 1.01, 1]), np.diag([-1.0, 1, 1, 1])])
def test_no_grid_of_an_image_has_oblique_or_stretched_axes(field, grid, matrix):
    assert on_own_lattice(field, grid, to_fixed=matrix, to_moving=AFFINE) is None


def test_within_the_tolerance_and_smaller_as_itk_reads_it(field, tmp_path):
    fine = Grid.axis_aligned((-30, -30, -6), (30, 26, 44), (0.9, 0.9, 1.5), "RAS")
    exact = field.to_transforms(fixed=fine, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    found = compacted(exact, 0.05, on_own_lattice(field, fine, to_fixed=TURN, to_moving=AFFINE))
    assert found.transform.displacement_mm.size < exact.displacement_mm.size / 10
    exact.save(tmp_path / "exact.nii.gz")
    found.transform.save(tmp_path / "compact.nii.gz")
    assert (tmp_path / "compact.nii.gz").stat().st_size < (tmp_path / "exact.nii.gz").stat().st_size / 10
    read = sitk.ReadImage(str(tmp_path / "compact.nii.gz"), sitk.sitkVectorFloat64)
    itk = sitk.DisplacementFieldTransform(read)
    rng = np.random.default_rng(0)
    voxels = np.concatenate([rng.integers(0, fine.size, (300, 3)), [[0, 0, 0]], [np.array(fine.size) - 1]])
    errors = [
        np.linalg.norm(np.subtract(itk.TransformPoint(point.tolist()), point + exact.displacement_mm[tuple(voxel)]))
        for voxel, point in zip(voxels, fine.voxel_to_world(voxels), strict=True)
    ]
    assert max(errors) <= found.largest_error_mm + 2e-3
    assert found.largest_error_mm <= 0.05


def test_no_whole_is_made_on_the_scans_grid(field, tmp_path):
    fine = Grid.axis_aligned((-20, -20, 0), (20, 20, 30), (1, 1, 1.5), "LPS")
    exact = field.to_transforms(fixed=fine, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    found = compacted(exact, 0.05)
    found.transform.save(tmp_path / "quickly.nii.gz")
    found.transform.save(tmp_path / "compact.nii.gz", closely=True)
    assert "displacement_mm" not in vars(found.transform) | vars(exact)
    steps = np.array(
        [16, 16, 32]
    )  # half of their diagonal, .047 mm, is the longest of powers of two within the tolerance
    expected = np.rint(exact.displacement_mm * steps) / steps
    np.testing.assert_array_equal(found.transform.displacement_mm, expected)
    np.testing.assert_array_equal(Transform.load(tmp_path / "compact.nii.gz").displacement_mm, expected)
    assert (tmp_path / "compact.nii.gz").stat().st_size < (tmp_path / "quickly.nii.gz").stat().st_size


@pytest.mark.parametrize("tolerance", [1 / 128, 0.01, 0.05, 0.1, 0.5, 3.0])
def test_no_voxel_is_off_by_more_than_the_tolerance(field, tolerance):
    fine = Grid.axis_aligned((-20, -20, 0), (20, 20, 30), (1, 1, 1.5), "LPS")
    exact = field.to_transforms(fixed=fine, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    found = compacted(exact, tolerance)
    off = np.linalg.norm(found.transform.displacement_mm - exact.displacement_mm, axis=-1).max()
    assert off == pytest.approx(found.largest_error_mm, abs=1e-5)
    assert min(tolerance, 1) / 3 < off <= tolerance  # no unit is above 1 mm


def test_a_lattice_that_does_not_fit_is_not_taken(field):
    """As after folds were opened on the scan's own grid."""
    fine = Grid.axis_aligned((-20, -20, 0), (20, 20, 30), (1, 1, 1.5), "LPS")
    exact = field.to_transforms(fixed=fine, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    exact.displacement_mm[20, 20, 10, 1] += 0.2
    found = compacted(exact, 0.05, on_own_lattice(field, fine, to_fixed=TURN, to_moving=AFFINE))
    assert found.transform.grid == fine
    off = np.linalg.norm(found.transform.displacement_mm - exact.displacement_mm, axis=-1).max()
    assert off == pytest.approx(found.largest_error_mm, abs=1e-6)
    assert 0 < off <= 0.05


def test_it_is_loaded_onto_the_grid_of_the_scan(field, tmp_path):
    fine = Grid.axis_aligned((-20, -20, 0), (20, 20, 30), (1, 1, 1.5), "RAS")
    exact = field.to_transforms(fixed=fine, moving=LATTICE, to_fixed=TURN, to_moving=AFFINE).moving_to_fixed
    known = Provenance("moving", "fixed", {"fixed": KnownScan(fine, "1"), "moving": KnownScan(LATTICE, "2")})
    exact = Transform(exact.displacement_mm, fine, known)
    compacted(exact, 0.05, on_own_lattice(field, fine, to_fixed=TURN, to_moving=AFFINE)).transform.save(
        tmp_path / "t.nii.gz"
    )
    loaded = Transform.load(tmp_path / "t.nii.gz")
    assert loaded.grid.is_close(fine)
    assert loaded.provenance == known
    assert np.linalg.norm(loaded.displacement_mm - exact.displacement_mm, axis=-1).max() <= 0.05
    (tmp_path / "t.nii.gz.json").unlink()
    assert Transform.load(tmp_path / "t.nii.gz").grid.spacing == pytest.approx(3 * (1.3 * 4.0,))


@pytest.mark.parametrize("tolerance", [0, 1 / 256, -1, "x", float("nan")])
def test_other_tolerances_are_refused(tolerance):
    transform = Transform(np.zeros((3, 3, 3, 3), np.float32), Grid((3, 3, 3), (1, 1, 1), (0, 0, 0)))
    with pytest.raises(InputError, match="A tolerance is millimetres"):
        compacted(transform, tolerance)
