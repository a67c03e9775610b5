import os
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
    elements=None,
    spacing=(0.8, 0.9, 2.5),
    name="",
) -> None:
    """One DICOM file a slice, stored unsigned with an intercept of -1024 as scanners do."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in slices:
        itk = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k].T[None]))
        itk.SetSpacing(spacing)
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
            **(elements or {}),
        }.items():
            itk.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{name}{uid[-1]}_{(7 * k) % 5}.dcm"))  # names in another order than the slices
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
    uids = "1.2.826.0.1.3680043.2.1125.1", "1.2.826.0.1.3680043.2.1125.2"
    options = "`fixed_series`", "`moving_series`", "`series`"
    for part in ("2 DICOM series", "'arterial' with 4 slices", "'portal venous' with 5 slices", *uids, *options):
        assert part in message
    assert np.array_equal(read_image(tmp_path / "ct", uids[0]).array, HU[:, :, :4])
    assert np.array_equal(read_image(tmp_path / "ct", series=f" {uids[1]} ").array, HU)
    with pytest.raises(InputError, match=r"holds no DICOM series 1\.2; it holds 'arterial' with 4 .*1125\.2\."):
        read_image(tmp_path / "ct", "1.2")


def test_a_series_is_named_by_its_uid_and_chosen_from_a_folder(tmp_path):
    write_series(tmp_path / "ct")
    assert np.array_equal(read_image(tmp_path / "ct", "1.2.826.0.1.3680043.2.1125.1").array, HU)
    with pytest.raises(InputError, match="UID, a str, not 1"):
        read_image(tmp_path / "ct", 1)
    with pytest.raises(InputError, match="is a single file"):
        read_image(next((tmp_path / "ct").iterdir()), "1.2")


def test_a_folder_without_a_series(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match="holds no DICOM series"):
        read_image(tmp_path)


def test_a_missing_slice(tmp_path):
    write_series(tmp_path / "ct", slices=[0, 1, 3, 4])
    message = r"missing, doubled or unevenly spaced slices \(.* mm between numbers 2 and 3 of 4, most are .* mm apart\)"
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "ct")


def test_a_slice_somewhat_beside_its_place_is_read_without_a_word_from_itk(tmp_path, capfd):
    write_series(tmp_path / "ct", slices=[0, 1, 3, 4])
    write_series(tmp_path / "ct", slices=[2], slice_shift=(0, 0, 0.05))
    assert np.array_equal(read_image(tmp_path / "ct").array, HU)
    assert capfd.readouterr().err == ""
    plain = sitk.ImageSeriesReader()
    plain.SetFileNames(plain.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    plain.Execute()
    assert "uniform sampling" in capfd.readouterr().err


def test_a_single_slice(tmp_path):
    write_series(tmp_path / "ct", slices=[2])
    with pytest.raises(InputError, match="single DICOM slice"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("axes", [AXIAL, CORONAL], ids=["axial", "oblique_coronal"])
@pytest.mark.parametrize("aside", [(0, 1.0), (-0.7, 0.45), (0, -3.0)])
def test_slices_of_a_tilted_gantry_are_put_straight(tmp_path, axes, aside):
    """Of values that are linear in the world, linear interpolation within the slices gives them everywhere."""
    slope, origin = np.array([20.0, -30.0, 16.0]), np.array([10.0, -20, 30])
    shift = axes[:, :2] @ aside
    voxels = np.moveaxis(np.indices(HU.shape), 0, -1) * [0.8, 0.9, 2.5]
    places = voxels @ axes.T + np.arange(HU.shape[2])[:, None] * shift
    write_series(tmp_path / "ct", axes=axes, array=np.rint(places @ slope).astype(np.int16), slice_shift=shift)
    angle = np.degrees(np.arctan2(np.linalg.norm(aside), 2.5))
    with pytest.warns(UserWarning, match=rf"by up to .* over 10 mm, as with a gantry tilted by {angle:.1f} degrees"):
        image = read_image(tmp_path / "ct")
    np.testing.assert_allclose(image.grid.direction, axes.ravel(), atol=1e-6)
    np.testing.assert_allclose(image.grid.spacing, (0.8, 0.9, 2.5), atol=1e-6)
    found = np.moveaxis(np.indices(image.grid.size), 0, -1)
    world = image.grid.voxel_to_world(found.reshape(-1, 3)).reshape(*image.grid.size, 3)
    within = (world - origin - np.arange(HU.shape[2])[:, None] * shift) @ axes / [0.8, 0.9, 2.5]
    seen = ((within >= -1e-5) & (within <= np.array(HU.shape) - 1 + 1e-5)).all(axis=-1)
    assert seen.sum() >= 0.6 * HU.size
    np.testing.assert_allclose(image.array[seen], ((world - origin) @ slope)[seen], atol=1)
    assert (image.array[~seen] == -1000).all()


def test_slices_that_lie_aside_unevenly_are_refused(tmp_path):
    write_series(tmp_path / "ct", slices=range(4))
    write_series(tmp_path / "ct", slices=[4], slice_shift=(0, 2.0, 0))
    with pytest.raises(InputError, match=r"by up to 8\.0 mm and not evenly"):
        read_image(tmp_path / "ct")


def test_compression_with_loss_is_told(tmp_path):
    write_series(tmp_path / "ct", elements={"0028|2110": "01", "0028|2112": "12.5"})
    with pytest.warns(UserWarning, match=r"compressed with loss to 1/12\.5"):
        image = read_image(tmp_path / "ct")
    assert np.array_equal(image.array, HU)


def test_another_modality_is_warned_of(tmp_path):
    write_series(tmp_path / "pt", modality="PT")
    with pytest.warns(UserWarning, match="modality PT"):
        read_image(tmp_path / "pt")


def test_a_localiser_is_left_out_with_a_word(tmp_path):
    write_series(tmp_path / "ct")
    write_series(
        tmp_path / "ct",
        axes=CORONAL,
        slices=[3],
        name="scout",
        elements={"0008|0008": "ORIGINAL\\PRIMARY\\LOCALIZER", "0008|0018": "1.2.3.4"},
    )
    with pytest.warns(UserWarning, match=r"1 of \d+ slices left out, as their headers say"):
        image = read_image(tmp_path / "ct")
    assert np.array_equal(image.array, HU)
    np.testing.assert_allclose(image.grid.voxel_to_world([0, 0, 4]), [10, -20, 40], atol=1e-3)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("patient: Z9 in", {"elements": {"0010|0020": "Z9"}}),
        ("patient's name: Doe", {"elements": {"0010|0010": "Doe"}}),
        ("frame of reference: 1.9.9 in", {"elements": {"0020|0052": "1.9.9"}}),
        ("pixel spacing: ", {"spacing": (0.8, 0.85, 2.5)}),
        ("orientation: 0", {"elements": {"0020|0037": "0\\1\\0\\1\\0\\0"}}),
        ("number of rows: 5", {"array": HU[:, :5]}),
    ],
)
def test_slices_that_do_not_belong_together(tmp_path, what, change):
    write_series(tmp_path / "ct", slices=[0, 1, 3, 4])
    write_series(tmp_path / "ct", slices=[2], name="odd", **change)
    with pytest.raises(InputError, match=f"differ in {what}.*odd1_4.dcm"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("between", ["0", "-2.5", "20"])
def test_a_wrong_spacing_between_slices_gives_way_to_their_positions(tmp_path, between):
    write_series(tmp_path / "ct", axes=CORONAL, elements={"0018|0088": "1234"})
    for path in (tmp_path / "ct").iterdir():  # SimpleITK writes no 0 itself
        written = b"\x18\x00\x88\x00\x04\x00\x00\x00"
        head, _, rest = path.read_bytes().partition(written)
        path.write_bytes(head + written + between.ljust(4).encode() + rest[4:])
    image = read_image(tmp_path / "ct")
    assert np.array_equal(image.array, HU)
    expected = np.array([10.0, -20, 30]) + CORONAL @ ([3, 2, 4] * np.array([0.8, 0.9, 2.5]))
    np.testing.assert_allclose(image.grid.voxel_to_world([3, 2, 4]), expected, atol=1e-3)
    assert len(list((tmp_path / "ct").iterdir())) == 5


def test_a_folder_within_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_series(tmp_path / "a" / "b" / "ct")
    assert np.array_equal(read_image(tmp_path / "a").array, HU)


def test_names_and_pipes_that_gdcm_would_stumble_over(tmp_path):
    for name, message in ((os.fsdecode(b"J\xfcrgen"), "not UTF-8"), ("pipe", "is a pipe")):
        folder = tmp_path / message.replace(" ", "_")
        write_series(folder)
        os.mkfifo(folder / name)
        with pytest.raises(InputError, match=message):
            read_image(folder)
