import numpy as np
import pytest
import SimpleITK as sitk

from mics import Grid, Transform

GRID = Grid((20, 18, 12), (3.0, 3.0, 4.0), (-30.0, -20.0, 10.0))


@pytest.fixture
def transform(tmp_path):
    x, y, z = np.moveaxis(GRID.points(), -1, 0)
    Transform(np.stack([0.1 * x + 3, -0.2 * y, 0.05 * z - 4], axis=-1), GRID).save(tmp_path / "t.nii.gz")
    return tmp_path / "t.nii.gz"


def test_a_transform_becomes_a_composite_and_maps(run, transform, tmp_path):
    files = [tmp_path / name for name in ("t.h5", "jacobian.nrrd", "norm.mha")]
    result = run("convert", transform, "-o", files[0], "--jacobian", files[1], "--norm", files[2])
    assert (result.exit_code, result.stderr) == (0, "")
    moved = sitk.ReadTransform(str(files[0])).TransformPoint((6.0, 10.0, 30.0))
    np.testing.assert_allclose(moved, (9.6, 8.0, 27.5), atol=0.01)
    jacobian = sitk.GetArrayFromImage(sitk.ReadImage(str(files[1])))
    np.testing.assert_allclose(jacobian, 1.1 * 0.8 * 1.05, atol=0.01)
    norm = sitk.ReadImage(str(files[2]))
    index = norm.TransformPhysicalPointToIndex((6.0, 10.0, 30.0))
    np.testing.assert_allclose(norm[index], np.linalg.norm([3.6, -2, -2.5]), atol=0.01)


def test_what_itk_has_written_is_converted_and_warps_points(run, transform, tmp_path):
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(transform), sitk.sitkVectorFloat64))
    composite = sitk.CompositeTransform([sitk.TranslationTransform(3, (5.0, -6.0, 7.0)), field])
    sitk.WriteTransform(composite, str(tmp_path / "theirs.h5"))
    assert run("convert", tmp_path / "theirs.h5", "-o", tmp_path / "field.nii.gz").exit_code == 0
    converted = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64))
    point = (6.0, 10.0, 30.0)
    np.testing.assert_allclose(converted.TransformPoint(point), composite.TransformPoint(point), atol=1e-3)
    (tmp_path / "points.csv").write_text("x,y,z\n6,10,30\n")
    assert run("warp", tmp_path / "points.csv", tmp_path / "theirs.h5", "-o", tmp_path / "moved.csv").exit_code == 0
    moved = np.genfromtxt(tmp_path / "moved.csv", delimiter=",", skip_header=1, usecols=(0, 1, 2))
    np.testing.assert_allclose(moved, composite.TransformPoint(point), atol=1e-3)


def test_an_affine_becomes_a_field_on_the_grid_of_an_image(run, refused, make, tmp_path):
    affine = sitk.AffineTransform((1.1, 0.05, 0, -0.04, 0.93, 0.1, 0, -0.08, 1.02), (12.0, -30.0, 25.0))
    sitk.WriteTransform(affine, str(tmp_path / "a.tfm"))
    image = make(tmp_path / "image.nii.gz")
    options = ("-o", tmp_path / "field.nrrd", "--reference")
    assert "does not exist" in refused("convert", tmp_path / "a.tfm", *options, tmp_path / "absent.nii.gz")
    assert run("convert", tmp_path / "a.tfm", *options, image).exit_code == 0
    field = sitk.ReadImage(str(tmp_path / "field.nrrd"), sitk.sitkVectorFloat64)
    assert field.GetSize() == sitk.ReadImage(str(image)).GetSize()
    moved = sitk.DisplacementFieldTransform(field).TransformPoint((6.0, 10.0, 30.0))
    np.testing.assert_allclose(moved, affine.TransformPoint((6.0, 10.0, 30.0)), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Name what is to be written"),
        (("-o", "t.mat"), "no format of transforms"),
        (("--norm", "norm.h5"), "not a kind of file"),
        (("--norm", "a.mha", "--jacobian", "a.mha"), "a name of its own"),
        (("-o", "there.h5"), "exists already"),
        (("-o", "there.txt"), "exists already"),
        (("-o", "link.h5"), "exists already"),
        (("-o", "told.nii.gz"), "told.nii.gz.json exists already"),
        (("-o", "a.mha", "--norm", "folder/../a.mha"), "a name of its own"),
        (
            ("-o", "absent/t.h5", "--norm", "norm.mha", "--jacobian", "jacobian.mha"),
            "there is no folder absent; make it",
        ),
        (("-o", "new.h5", "--scan", "."), "--scan is for structures"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_written(
    refused, transform, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    for name in ("there.h5", "there_field.mha", "told.nii.gz.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.h5").symlink_to("nowhere.h5")
    before = sorted(tmp_path.iterdir())
    assert message in refused("convert", transform, *options)
    assert sorted(tmp_path.iterdir()) == before


def test_an_affine_has_no_field(refused, tmp_path):
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.tfm"))
    assert "is an affine, which has no grid" in refused("convert", tmp_path / "a.tfm", "-o", tmp_path / "t.h5")
