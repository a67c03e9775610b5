"""Slices written by pydicom, sound and each with something wrong: read as pydicom reads them, or refused."""

import gzip
import shutil
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mics.errors import InputError
from mics.image.io import read_image, write_image

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = [pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian]


def write_slice(path, number, raw, position, orientation, spacing, scale, bits, syntax):
    """A slice of raw numbers (columns, rows), written by pydicom; ``scale`` None leaves slope and intercept out."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT, f"1.2.3.5.{number}"
    meta.TransferSyntaxUID = syntax
    slice_ = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = CT, f"1.2.3.5.{number}", "CT"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.InstanceNumber = "1.2.3.2", "1.2.3.3", number
    slice_.ImagePositionPatient = [f"{value:.9g}" for value in position]
    slice_.ImageOrientationPatient = [f"{value:.9g}" for value in orientation]
    slice_.PixelSpacing = [f"{value:.9g}" for value in spacing[::-1]]
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
    slice_.Columns, slice_.Rows = raw.shape
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, bits, bits - 1
    slice_.PixelRepresentation = int(raw.dtype.kind == "i")
    if scale is not None:
        slice_.RescaleSlope, slice_.RescaleIntercept = (f"{value:g}" for value in scale)
    slice_.PixelData = raw.T.astype(raw.dtype.newbyteorder("<")).tobytes()
    slice_.save_as(path, enforce_file_format=True)


def read_by_pydicom(folder):
    """Values (X, Y, Z) in HU and the place of each voxel, (N, 3) LPS mm in the order of ``np.indices``."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    along, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    slices.sort(key=lambda one: np.cross(along, down) @ np.array(one.ImagePositionPatient, float))
    values, places = [], []
    for one in slices:
        values.append(pydicom.pixels.apply_rescale(one.pixel_array, one).T.astype(float))
        between_rows, between_columns = map(float, one.PixelSpacing)
        i, j = np.indices((one.Columns, one.Rows))[..., None]
        places.append(np.array(one.ImagePositionPatient, float) + i * between_columns * along + j * between_rows * down)
    return np.stack(values, axis=2), np.stack(places, axis=2).reshape(-1, 3)


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    straight=st.booleans(),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    downward=st.booleans(),
    scales=st.one_of(
        st.lists(
            st.sampled_from([(1, -1024), (1, 0), (2, 5), (0.5, -1000.5), (-1, 300), (1, -1023)]), min_size=1, max_size=5
        ),
        st.lists(st.sampled_from([(1, 0), None]), min_size=1, max_size=5),
    ),
    names=st.permutations(range(5)),
    kind=st.sampled_from(["i2", "u2"]),
    bits=st.sampled_from([12, 16]),
    syntax=st.sampled_from(SYNTAXES),
)
@settings(max_examples=30, deadline=None)
@pytest.mark.filterwarnings("ignore:.*Hounsfield units")
def test_slices_at_random_are_read_as_by_pydicom(
    tmp_path_factory, angles, straight, spacing, origin, downward, scales, names, kind, bits, syntax
):
    folder = tmp_path_factory.mktemp("random")
    axes = np.eye(3) if straight else Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    raw = np.random.default_rng(names[0]).integers(-2000 if kind == "i2" else 0, 2000, (3, 4, 5)).astype(kind)
    for k in range(5):
        position = np.array(origin) + axes[:, 2] * spacing[2] * (4 - k if downward else k)
        orientation = axes[:, :2].T.ravel()
        scale = scales[k % len(scales)]
        write_slice(
            folder / f"{names[k]}.dcm", k, raw[:, :, k], position, orientation, spacing[:2], scale, bits, syntax
        )
    try:
        image = read_image(folder)
    except InputError as error:
        pytest.fail(f"sound slices were refused: {error}")
    values, places = read_by_pydicom(folder)
    np.testing.assert_array_equal(image.array, values)
    np.testing.assert_allclose(image.grid.voxel_to_world(np.indices(raw.shape).reshape(3, -1).T), places, atol=1e-4)


def changed_series(folder, changes, numbers=(2,)):
    """Five sound slices, of which those of the numbers are changed: by element, None takes it away."""
    folder.mkdir()
    raw = np.random.default_rng(0).integers(0, 2000, (3, 4, 5)).astype("u2")
    for k in range(5):
        path = folder / f"{k}.dcm"
        write_slice(path, k, raw[:, :, k], (0, 0, 2.5 * k), (1, 0, 0, 0, 1, 0), (0.8, 0.9), (1, -1024), 16, SYNTAXES[1])
    change_slices(folder, changes, numbers)
    return folder


def change_slices(folder, changes, numbers):
    for k in numbers:
        slice_ = pydicom.dcmread(folder / f"{k}.dcm")
        for name, value in changes.items():
            delattr(slice_, name) if value is None else setattr(slice_, name, value)
        slice_.save_as(folder / f"{k}.dcm")


ALL = tuple(range(5))


@pytest.mark.parametrize(
    ("changes", "numbers", "message"),
    [
        ({"PixelSpacing": [0, 0]}, ALL, r"PixelSpacing 0\.0\\0\.0"),
        ({"PixelSpacing": None}, ALL, "PixelSpacing none"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.9, 0.8]}, ALL, "PixelSpacing none"),
        ({"RescaleSlope": "0"}, ALL, "has 0 for its RescaleSlope"),
        ({"RescaleIntercept": ""}, (2,), r"2\.dcm has nothing for its RescaleIntercept"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ALL, "right angle"),
        ({"ImageOrientationPatient": [0] * 6}, ALL, "right angle"),
        ({"PixelData": bytes(10)}, (2,), r"2\.dcm was cut short: its header promises 24 bytes"),
        ({"ImagePositionPatient": [0, 0, 2.5]}, (2,), r"doubled slices, .*\((1.dcm and 2|2.dcm and 1)\.dcm lie"),
    ],
)
def test_slices_that_itk_would_make_something_up_for(tmp_path, changes, numbers, message):
    with pytest.raises(InputError, match=message):
        read_image(changed_series(tmp_path / "ct", changes, numbers))


def test_a_display_the_other_way_round_changes_no_value(tmp_path):
    sound = read_image(changed_series(tmp_path / "sound", {}, ALL)).array
    folder = changed_series(tmp_path / "ct", {"PhotometricInterpretation": "MONOCHROME1"}, ALL)
    np.testing.assert_array_equal(read_image(folder).array, sound)
    np.testing.assert_array_equal(sound, read_by_pydicom(folder)[0])


def test_slices_that_lack_the_intercept_of_the_others_are_refused(tmp_path):
    """ITK would take them as they are stored, 1024 HU above the others."""
    changed_series(tmp_path / "ct", {"RescaleIntercept": None, "RescaleSlope": None}, numbers=(2, 3))
    with pytest.raises(InputError, match=r"no RescaleIntercept in 2 of its 5 slices, the first 2\.dcm"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("element", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_two_acquisitions_between_each_other_are_refused(tmp_path, element):
    """At places of their own, so that nothing is doubled: one volume of half the step, of both phases in turns."""
    changed_series(tmp_path / "ct", {element: "1"}, numbers=range(0, 5, 2))
    change_slices(tmp_path / "ct", {element: "2"}, range(1, 5, 2))
    with pytest.raises(InputError, match=rf"several .*\({element} 1, 2\) that lie between each other"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("numbers", ["01234", "00112", "11011"], ids=["a number a slice", "a table's step", "one odd"])
def test_acquisitions_along_the_table_are_a_volume(tmp_path, numbers):
    changed_series(tmp_path / "ct", {})
    for k, number in enumerate(numbers):
        change_slices(tmp_path / "ct", {"AcquisitionNumber": number}, (k,))
    values, _ = read_by_pydicom(tmp_path / "ct")
    assert np.array_equal(read_image(tmp_path / "ct").array, values)


@pytest.mark.parametrize("element", ["KVP", "TriggerTime"])
def test_a_number_that_is_written_in_two_ways_is_one(tmp_path, element):
    changed_series(tmp_path / "ct", {element: "120"}, numbers=range(0, 5, 2))
    change_slices(tmp_path / "ct", {element: "120.0"}, range(1, 5, 2))
    values, _ = read_by_pydicom(tmp_path / "ct")
    assert np.array_equal(read_image(tmp_path / "ct").array, values)


@pytest.mark.parametrize("kept", [0, 100, 400, -20])
def test_a_broken_slice_at_an_end_is_named(tmp_path, kept):
    """GDCM leaves it out in silence, and what is left is evenly stacked."""
    changed_series(tmp_path / "ct", {})
    last = tmp_path / "ct" / "4.dcm"
    last.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"4\.dcm is damaged, empty or was cut short, so a slice may be missing"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("name", ["4.dcm", "IM4"])
def test_a_slice_of_which_nothing_but_zeros_came_over_is_named(tmp_path, name):
    """As where a copy took the room for a file and broke off."""
    changed_series(tmp_path / "ct", {})
    for k in range(5):
        (tmp_path / "ct" / f"{k}.dcm").rename(tmp_path / "ct" / name.replace("4", str(k)))
    last = tmp_path / "ct" / name
    last.write_bytes(bytes(last.stat().st_size))
    with pytest.raises(InputError, match=rf"{name} is damaged, empty or was cut short, so a slice may be missing"):
        read_image(tmp_path / "ct")


def test_a_slice_that_is_compressed_beside_the_others_is_named(tmp_path):
    changed_series(tmp_path / "ct", {})
    last = tmp_path / "ct" / "4.dcm"
    (tmp_path / "ct" / "4.dcm.gz").write_bytes(gzip.compress(last.read_bytes()))
    last.unlink()
    with pytest.raises(InputError, match=r"4\.dcm\.gz is compressed by gzip and .*so a slice may be missing"):
        read_image(tmp_path / "ct")


def test_what_else_lies_beside_the_slices_is_no_broken_one(tmp_path):
    changed_series(tmp_path / "ct", {})
    for name, kind in (("DICOMDIR", b"1.2.840.10008.1.3.10"), ("report.dcm", b"1.2.840.10008.5.1.4.1.1.88.11\0")):
        meta = b"\2\0\2\0UI" + len(kind).to_bytes(2, "little") + kind
        (tmp_path / "ct" / name).write_bytes(bytes(128) + b"DICM" + meta + bytes(300))
    (tmp_path / "ct" / "._0.dcm").touch()
    (tmp_path / "ct" / "note.txt").touch()
    assert read_image(tmp_path / "ct").grid.size == (3, 4, 5)


def test_a_number_that_ends_the_slices_names_is_no_ending_of_theirs(tmp_path):
    changed_series(tmp_path / "ct", {})
    for k in range(5):
        (tmp_path / "ct" / f"{k}.dcm").rename(tmp_path / "ct" / f"{k}.dcm.{k}")
    (tmp_path / "ct" / "report.2").write_text("nothing to be seen")
    assert read_image(tmp_path / "ct").grid.size == (3, 4, 5)


def test_ct_values_that_its_header_calls_something_else_are_told(tmp_path):
    changed_series(tmp_path / "ct", {"RescaleType": "Z_EFF"}, numbers=range(5))
    with pytest.warns(UserWarning, match=r"holds values of the kind Z_EFF, not HU"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize(("numbers", "part"), [(range(5), ""), ((3, 4), ", in 2 of its 5 slices")])
def test_projections_are_told(tmp_path, numbers, part):
    changed_series(tmp_path / "ct", {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, numbers)
    with pytest.warns(UserWarning, match=rf"holds projections .* as its headers say \(ImageType MIP\){part}\.$"):
        read_image(tmp_path / "ct")


def test_reformatted_slices_are_no_projections(tmp_path):
    changed_series(tmp_path / "ct", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, range(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "ct")


def test_a_slice_that_itk_gives_up_on_is_told_to_be_that(tmp_path):
    """Not to give the folder, as that was given."""
    path = changed_series(tmp_path / "ct", {}) / "2.dcm"
    rows = b"\x28\x00\x10\x00US"
    assert path.read_bytes().count(rows) == 1
    path.write_bytes(path.read_bytes().replace(rows, rows[:4] + b"SS"))
    with pytest.raises(InputError, match=r"2\.dcm is DICOM that ITK cannot read: export it again\.$"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("name", ["0.IMA", "IM0001"])
def test_a_slice_of_any_name_is_told_to_be_one(tmp_path, name):
    changed_series(tmp_path / "ct", {})
    path = (tmp_path / "ct" / "0.dcm").rename(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} holds a single DICOM slice: give the folder"):
        read_image(path)


def test_a_copy_of_a_slice_is_told_as_that(tmp_path):
    folder = changed_series(tmp_path / "ct", {}, ())
    (folder / "again").mkdir()
    shutil.copy(folder / "2.dcm", folder / "again")
    with pytest.raises(
        InputError, match=r"holds a slice twice \((2.dcm and again/2|again/2.dcm and 2)\.dcm have one SOPI"
    ):
        read_image(folder)


def test_a_link_to_a_folder_is_followed_once(tmp_path):
    folder = changed_series(tmp_path / "ct", {}, ())
    study = tmp_path / "study"
    study.mkdir()
    (study / "series").symlink_to(folder)
    (folder / "up").symlink_to(study)
    assert read_image(study) == read_image(folder)


def test_no_frames_are_one(tmp_path):
    folder = changed_series(tmp_path / "ct", {"NumberOfFrames": 0}, ALL)
    assert read_image(folder) == read_image(changed_series(tmp_path / "sound", {}, ()))


def test_empty_parts_of_a_name_make_no_other_patient(tmp_path):
    """They may be left out at the end (DICOM PS3.5, 6.2.1)."""
    sound = read_image(changed_series(tmp_path / "sound", {}, ()))
    folder = changed_series(tmp_path / "ct", {"PatientName": "Meier^Eva"}, ALL)
    for number, name in enumerate(("Meier^Eva^^^", "Meier^Eva^", "Meier^Eva==")):
        path = sorted(folder.iterdir())[number]
        one = pydicom.dcmread(path)
        one.PatientName = name
        one.save_as(path)
    assert read_image(folder) == sound
    one.PatientName = "Meier^Ada^^^"
    one.save_as(path)
    with pytest.raises(InputError, match=r"differ in patient's name: Meier\^Ada in "):
        read_image(folder)


def test_a_name_in_two_character_sets_is_no_other_patient(tmp_path):
    sound = read_image(changed_series(tmp_path / "sound", {}, ()))
    folder = changed_series(tmp_path / "ct", {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Eva"}, ALL)
    path = sorted(folder.iterdir())[2]
    one = pydicom.dcmread(path)
    one.SpecificCharacterSet, one.PatientName = "ISO_IR 192", "Müller^Eva"
    one.save_as(path)
    assert "Müller".encode("latin-1") not in path.read_bytes()
    assert read_image(folder) == sound
    one.SpecificCharacterSet, one.PatientName = "ISO_IR 100", "Müller^Ada"
    one.save_as(path)
    with pytest.raises(InputError, match="differ in patient's name"):
        read_image(folder)


def test_slices_with_a_series_uid_each_are_told_as_that(tmp_path):
    """As SimpleITK writes them, unless it is told to keep the UID."""
    folder = changed_series(tmp_path / "ct", {}, ())
    for number, path in enumerate(folder.iterdir()):
        one = pydicom.dcmread(path)
        one.SeriesInstanceUID = f"1.2.3.3.{number}"
        one.save_as(path)
    with pytest.raises(
        InputError, match=r"ct holds \d+ slices, each with a SeriesInstanceUID of its own, so nothing says"
    ):
        read_image(folder)


@pytest.mark.parametrize(("slope", "sound"), [("0.001", False), ("-0.001", False), ("0.03125", True)])
def test_a_slope_that_leaves_no_room_for_hu(tmp_path, slope, sound):
    """16 bits times 0.001 reach over 66 HU: what lies beyond was wrapped by the writer."""
    folder = changed_series(tmp_path / "ct", {"RescaleSlope": slope}, ALL)
    if sound:
        np.testing.assert_allclose(read_image(folder).array, read_by_pydicom(folder)[0], atol=1e-3)
        return
    with pytest.raises(
        InputError, match=rf"cannot hold HU: with its RescaleSlope of {slope}, \d+ bits reach over \d+ of them"
    ):
        read_image(folder)


def test_a_folder_without_slices_is_told_what_it_holds(tmp_path, smooth_image, grids):
    study = tmp_path / "study" / "within"
    study.mkdir(parents=True)
    with pytest.raises(InputError, match="holds no DICOM series: give the folder in which the slices are"):
        read_image(tmp_path / "study")
    (study / "1.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"holds no DICOM series, but pictures, the first within/1\.png"):
        read_image(tmp_path / "study")
    (study / "1.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match=r"whose pixels are read \(its first DICOM file is within/1\.dcm\)"):
        read_image(tmp_path / "study")
    write_image(smooth_image(grids["lps"]), study / "0.nii.gz")
    with pytest.raises(InputError, match=r"holds no DICOM series, but within/0\.nii\.gz: give that file itself"):
        read_image(tmp_path / "study")
