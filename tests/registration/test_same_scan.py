import warnings

import numpy as np
import pytest
import SimpleITK as sitk

from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.inputs import load_pair
from mics.registration.same_scan import is_same_scan

SHAPE = (40, 36, 12)
GRID = Grid(SHAPE, (5.0, 5.0, 10.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def body(seed: int) -> np.ndarray:
    """HU of a fatty cylinder around soft tissue, in air."""
    x, y = (np.linspace(-1.2, 1.2, n) for n in SHAPE[:2])
    away = np.hypot(x[:, None], y[None])[..., None]
    hu = np.where(away < 0.6, 50, np.where(away < 1, -100, -1000)) * np.ones(SHAPE)
    return (hu + np.random.default_rng(seed).normal(0, 10, SHAPE)).astype(np.float32)


def series(folder, uid: str, hu: np.ndarray, positions=range(SHAPE[2])):
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in positions:
        itk = sitk.GetImageFromArray(np.ascontiguousarray(np.rint(hu[:, :, k]).astype(np.int16).T[None]))
        itk.SetSpacing((5.0, 5.0, 10.0))
        for key, value in {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": f"0\\0\\{10 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            itk.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(itk)
    return folder


def messages_for(**scans) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, messages = load_pair(**scans)
    return [message for message in messages if "given twice" in message]


def test_the_same_voxels_are_told_once(tmp_path):
    image = Image(body(0), GRID)
    (message,) = messages_for(fixed=image, moving=Image(body(0), GRID))
    assert message == "The fixed and the moving scan are the same, voxel by voxel: was one of them given twice?"
    shifted = Grid(SHAPE, GRID.spacing, (40.0, 0.0, 0.0), GRID.direction)
    (message,) = messages_for(fixed=image, moving=Image(body(0), shifted))
    assert "though their headers place them differently" in message


def test_a_copy_of_a_folder_is_told_once(tmp_path):
    folder = series(tmp_path / "a", "1.2.3", body(0))
    assert len(messages_for(fixed=folder, moving=series(tmp_path / "b", "1.2.3", body(0)))) == 1
    assert len(messages_for(fixed=folder, moving=folder)) == 1


@pytest.mark.parametrize("positions", [range(SHAPE[2]), range(2, SHAPE[2])], ids=["other values", "part of the slices"])
def test_one_series_in_two_forms_is_told_without_its_uid(tmp_path, positions):
    fixed = series(tmp_path / "a", "1.2.3", body(0))
    (message,) = messages_for(fixed=fixed, moving=series(tmp_path / "b", "1.2.3", body(1), positions))
    assert message.startswith("The fixed and the moving scan are of the same DICOM series")
    assert "1.2.3" not in message


def test_two_scans_are_not(tmp_path):
    fixed = series(tmp_path / "a", "1.2.3", body(0))
    assert messages_for(fixed=fixed, moving=series(tmp_path / "b", "1.2.4", body(1))) == []
    assert messages_for(fixed=fixed, moving=Image(body(1), GRID)) == []
    assert messages_for(fixed=Image(body(0), GRID), moving=Image(body(1), GRID)) == []


def test_one_scan_in_two_files_is_known_and_another_of_the_patient_is_not():
    hu = body(0)
    hu[25:] += np.where(hu[25:] > -500, 20, 0)
    own = Image(hu, GRID)
    itk = sitk.Flip(own.to_sitk(), [True, False, True])
    for other in (sitk.Cast(itk, sitk.sitkInt16), sitk.PermuteAxes(itk, [2, 0, 1]), sitk.Clamp(itk, lowerBound=-1024)):
        assert is_same_scan(own, Image.of(other))
    padded = hu.copy()
    padded[:2] = -2000
    assert is_same_scan(own, Image(padded, GRID))
    mirrored = Image(hu[::-1].copy(), GRID)
    follow_up = Image(body(1), GRID)
    aside = Image(hu, Grid(SHAPE, GRID.spacing, (5.0, 0.0, 0.0)))
    assert not any(is_same_scan(own, other) for other in (mirrored, follow_up, aside))


def test_a_scan_and_its_rounded_copy_are_told():
    hu = body(0)
    with pytest.warns(
        UserWarning, match="show the same, to a HU, though their files differ: was one of them given twice"
    ):
        load_pair(fixed=Image(hu, GRID), moving=Image(np.rint(hu), GRID))
