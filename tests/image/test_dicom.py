from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.io import read_image

HU = np.random.default_rng(0).integers(-1000, 1500, size=(8, 6, 5)).astype(np.int16)
AXIAL = np.eye(3)
ANGLE = np.deg2rad(20)
CORONAL = np.array([[1, 0, 0], [0, np.sin(ANGLE), -np.cos(ANGLE)], [0, np.cos(ANGLE), np.sin(ANGLE)]])


def write_series(
    folder: Path,
    *,
    axes=AXIAL,
    uid="1.2.826.0.1.3680043.2.1125.1",
    description="venous",
    modality="CT",
    slices=range(5),
    slice_shift=(0.0, 0.0, 0.0),
    array=HU,
) -> None:
    """One DICOM file a slice, stored unsigned with an intercept of -1024 as scanners do."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in slices:
        itk = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k].T[None]))
        itk.SetSpacing([0.8, 0.9, 2.5])
        position = np.array([10.0, -20, 30]) + 2.5 * k * axes[:, 2] + k * np.array(slice_shift)
        for key, value in {
            "0008|0060": modality,
            "0008|103e": description,
            "0020|000e": uid,
            "0020|0052": uid + ".9",
            "0008|0018": f"{uid}.{k + 100}",
            "0020|0032": "\\".join(f"{x:.6f}" for x in position),
            "0020|0037": "\\".join(f"{x:.8f}" for x in [*axes[:, 0], *axes[:, 1]]),
            "0020|0013": str(k),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }.items():
            itk.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid[-1]}_{(7 * k) % 5}.dcm"))  # names in another order than the slices
        writer.Execute(itk)


@pytest.mark.parametrize("axes", [AXIAL, CORONAL], ids=["axial", "oblique_coronal"])
def test_a_series_is_a_volume_in_hounsfield_units(tmp_path, axes):
    write_series(tmp_path / "ct", axes=axes)
    image = read_image(tmp_path / "ct")
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array, HU)
    voxel = np.array([3, 2, 4])
    expected = np.array([10.0, -20, 30]) + axes @ (voxel * [0.8, 0.9, 2.5])
    np.testing.assert_allclose(image.grid.voxel_to_world(voxel), expected, atol=1e-3)


def test_two_series_are_named(tmp_path):
    write_series(tmp_path / "ct", description="arterial", slices=range(4))
    write_series(tmp_path / "ct", description="portal venous", uid="1.2.826.0.1.3680043.2.1125.2")
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "ct")
    message = str(caught.value)
    for part in ("2 DICOM series", "'arterial' with 4 slices", "'portal venous' with 5 slices", "folder of their own"):
        assert part in message


def test_a_folder_without_a_series(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match="holds no DICOM series"):
        read_image(tmp_path)


def test_a_missing_slice(tmp_path):
    write_series(tmp_path / "ct", slices=[0, 1, 3, 4])
    with pytest.raises(InputError, match="missing, doubled or unevenly spaced"):
        read_image(tmp_path / "ct")


def test_a_single_slice(tmp_path):
    write_series(tmp_path / "ct", slices=[2])
    with pytest.raises(InputError, match="single DICOM slice"):
        read_image(tmp_path / "ct")


def test_a_tilted_gantry(tmp_path):
    write_series(tmp_path / "ct", slice_shift=(0, 1.0, 0))
    with pytest.raises(InputError, match="tilted gantry"):
        read_image(tmp_path / "ct")


def test_another_modality_is_warned_of(tmp_path):
    write_series(tmp_path / "mr", modality="MR")
    with pytest.warns(UserWarning, match="modality MR"):
        read_image(tmp_path / "mr")
