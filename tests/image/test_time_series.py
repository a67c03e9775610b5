import nibabel
import numpy as np
import pytest

from mics.errors import InputError
from mics.image.time_series import TimeSeries, is_time_series, read_time_series, write_time_series

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -20], [0, 2.5, 0, 5], [0, 0, 0, 1]])


def saved(path, array, unit="sec", step=2.5, intent="none"):
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("mm", unit)
    image.header.set_intent(intent)
    if array.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], step))
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_series_is_what_nibabel_has_and_stays_so(tmp_path, dtype, suffix):
    array = np.random.default_rng(0).integers(0, 200, (5, 6, 4, 3)).astype(dtype)
    path = saved(tmp_path / f"in{suffix}", array)
    assert is_time_series(path)
    series = read_time_series(path)
    for time, volume in enumerate(series.volumes):
        np.testing.assert_array_equal(volume.array, array[..., time])
        assert volume.array.dtype == dtype
    lps = np.diag([-1, -1, 1]) @ AFFINE[:3] @ [1, 2, 3, 1]
    np.testing.assert_allclose(series.volumes[1].grid.voxel_to_world([1, 2, 3]), lps, atol=1e-5)
    write_time_series(series, tmp_path / f"out{suffix}")
    again = nibabel.load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(again.get_fdata(), array)
    np.testing.assert_allclose(again.affine, AFFINE, atol=1e-5)
    assert again.header.get_zooms()[3] == 2.5


def test_milliseconds_become_seconds_and_no_step_becomes_one(tmp_path):
    array = np.ones((3, 4, 5, 2), np.float32)
    assert read_time_series(saved(tmp_path / "a.nii", array, "msec", 800.0)).step == pytest.approx(0.8)
    assert read_time_series(saved(tmp_path / "b.nii", array, "unknown", 0.0)).step == 1.0


def test_what_is_no_series(tmp_path):
    assert not is_time_series(saved(tmp_path / "volume.nii", np.ones((3, 4, 5), np.float32)))
    assert not is_time_series(saved(tmp_path / "one.nii", np.ones((3, 4, 5, 1), np.float32)))
    assert not is_time_series(saved(tmp_path / "field.nii", np.ones((3, 4, 5, 3), np.float32), intent="vector"))
    assert not is_time_series(tmp_path)
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(InputError, match=r"text\.nii"):
        is_time_series(tmp_path / "text.nii")


def test_values_that_are_no_number_are_refused(tmp_path):
    array = np.ones((3, 4, 5, 2), np.float32)
    array[0, 0, 0, 1] = np.nan
    with pytest.raises(InputError, match="1 NaN"):
        read_time_series(saved(tmp_path / "nan.nii", array))


def test_a_series_is_cut_short_like_a_volume(tmp_path):
    path = saved(tmp_path / "cut.nii", np.ones((5, 6, 4, 3), np.float32))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_time_series(path)


def test_other_formats_hold_a_series_too(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    series = read_time_series(saved(tmp_path / "in.nii", np.arange(360, dtype=np.int16).reshape(5, 6, 4, 3)))
    write_time_series(TimeSeries(series.volumes[1:], 1.0), tmp_path / "out.nrrd")
    written = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert written.GetSize() == (5, 6, 4, 2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written)[1].T, series.volumes[2].array)
