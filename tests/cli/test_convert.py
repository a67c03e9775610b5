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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Name what is to be written"),
        (("-o", "t.mat"), "no format of transforms"),
        (("--norm", "norm.h5"), "not a kind of file"),
        (("--norm", "a.mha", "--jacobian", "a.mha"), "a name of its own"),
        (("-o", "there.h5"), "exists already"),
        (("-o", "there.txt"), "exists already"),
        (("-o", "new.h5", "--scan", "."), "--scan is for structures"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_written(refused, transform, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    for name in ("there.h5", "there_field.mha"):
        (tmp_path / name).write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    assert told in refused("convert", transform, *options)
    assert sorted(tmp_path.iterdir()) == before


def test_an_affine_has_no_field(refused, tmp_path):
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.tfm"))
    assert "is an affine, which has no grid" in refused("convert", tmp_path / "a.tfm", "-o", tmp_path / "t.h5")
