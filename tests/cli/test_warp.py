import numpy as np
import pytest
import SimpleITK as sitk

SHIFT = np.array([10.0, -20.0, 10.0])  # mm, whole voxels of the test scans


@pytest.fixture
def field(tmp_path, make):
    """A shift written by SimpleITK on the grid of the test scans, in ITK's own form of a displacement field."""
    reference = sitk.ReadImage(str(make(tmp_path / "reference.nii.gz")))
    array = np.broadcast_to(SHIFT, (*reference.GetSize()[::-1], 3)).astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=True)
    image.CopyInformation(reference)
    sitk.WriteImage(image, str(tmp_path / "field.nii.gz"))
    return tmp_path / "field.nii.gz"


def by_itk(path, field, interpolator, outside):
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, interpolator, outside))


def test_an_image_is_warped_as_itk_does(run, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    result = run("warp", scan, field, "-o", tmp_path / "warped.nrrd")
    assert result.exit_code == 0, result.output
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warped.nrrd")))
    np.testing.assert_allclose(ours, by_itk(scan, field, sitk.sitkLinear, -1000), atol=1e-3)


def test_labels_stay_labels(run, make, field, tmp_path):
    labels = make(tmp_path / "labels.nii.gz", np.random.default_rng(0).integers(0, 14, (24, 22, 20)).astype(np.uint8))
    assert run("warp", labels, field, "-o", tmp_path / "warped.nii.gz", "--labels").exit_code == 0
    warped = sitk.ReadImage(str(tmp_path / "warped.nii.gz"))
    assert warped.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(warped), by_itk(labels, field, sitk.sitkNearestNeighbor, 0))


def test_points_go_where_itk_takes_them(run, field, tmp_path):
    (tmp_path / "points.csv").write_text("x,y,z,name\n12,-30,25,tip\n-50,40,0,\n")
    assert run("warp", tmp_path / "points.csv", field, "-o", tmp_path / "moved.csv").exit_code == 0
    moved = np.genfromtxt(tmp_path / "moved.csv", delimiter=",", skip_header=1, usecols=(0, 1, 2))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    expected = [transform.TransformPoint(point) for point in ((12.0, -30.0, 25.0), (-50.0, 40.0, 0.0))]
    np.testing.assert_allclose(moved, expected, atol=1e-3)
    assert "tip" in (tmp_path / "moved.csv").read_text()


def test_what_exists_is_not_overwritten(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    (tmp_path / "there.nii.gz").write_text("mine")
    assert "there.nii.gz" in refused("warp", scan, field, "-o", tmp_path / "there.nii.gz")
    assert (tmp_path / "there.nii.gz").read_text() == "mine"


def test_a_scan_is_not_a_transform(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    assert "scan.nii.gz" in refused("warp", scan, scan, "-o", tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()


def test_an_unwritable_place_and_an_unknown_format_are_refused(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    assert "absent" in refused("warp", scan, field, "-o", tmp_path / "absent" / "out.nii.gz")
    assert "out.jpeg" in refused("warp", scan, field, "-o", tmp_path / "out.jpeg")
