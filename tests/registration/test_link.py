import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.registration.link import read_link

POINTS = [[0.0, 0.0, 0.0], [120.0, -40.0, 300.0], [-80.0, 20.0, -10.0]]


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5"])
def test_an_affine_and_its_inverse_are_itks(tmp_path, suffix):
    affine = sitk.AffineTransform((1.1, 0.05, 0, -0.04, 0.93, 0.1, 0, -0.08, 1.02), (12.0, -30.0, 250.0))
    path = tmp_path / f"affine{suffix}"
    sitk.WriteTransform(affine, str(path))
    for name, itk in ((str(path), affine), (f"[{path},1]", affine.GetInverse()), (f"[{path}, 1]", affine.GetInverse())):
        matrix = read_link(name)
        expected = [itk.TransformPoint(point) for point in POINTS]
        np.testing.assert_allclose(POINTS @ matrix[:3, :3].T + matrix[:3, 3], expected, atol=1e-3)


def test_a_displacement_field_has_no_inverse_here(tmp_path, grids):
    field = Transform(np.full((*grids["lps"].size, 3), 2.0, np.float32), grids["lps"])
    field.save(tmp_path / "field.nrrd")
    np.testing.assert_array_equal(read_link(str(tmp_path / "field.nrrd")).displacement_mm, field.displacement_mm)
    with pytest.raises(InputError, match="other direction"):
        read_link(f"[{tmp_path / 'field.nrrd'},1]")


@pytest.mark.parametrize(
    "name", ["affine.lta", "affine.xfm", "warp.mgz", "TransformParameters.0.toml", "points.csv", "warp"]
)
def test_a_file_of_no_kind_of_transform_is_told_what_is_read(tmp_path, name):
    (tmp_path / name).write_text("1 0 0 0")
    for given in (tmp_path / name, f"[{tmp_path / name},1]"):
        with pytest.raises(InputError, match=r"is no kind of transform that MICS reads: give .*\.h5"):
            read_link(str(given))


def test_dicom_is_no_transform(tmp_path):
    (tmp_path / "reg.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    with pytest.raises(InputError, match=r"reg\.dcm is DICOM, and transforms are not read from that"):
        read_link(str(tmp_path / "reg.dcm"))
