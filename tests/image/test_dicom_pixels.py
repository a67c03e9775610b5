"""Pixels that are not what their header says, and frames and slices that differ in what their values mean; written by pydicom."""

import io
import re
import warnings

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.dataset import Dataset

from mics.errors import InputError
from mics.image.dicom_pixels import has_bits_beyond
from mics.image.io import read_image

RAW = np.random.default_rng(0).integers(1, 2000, (5, 4, 3)).astype("<u2")  # slices, rows, columns


def with_table(one, _):
    del one.RescaleSlope, one.RescaleIntercept
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "HU"
    table.add_new("LUTData", "OW", (2 * np.arange(4096)).astype("<u2").tobytes())
    one.ModalityLUTSequence = [table]


def with_table_too(one, _):
    with_table(one, _)
    one.RescaleSlope, one.RescaleIntercept = "1", "-1024"


def with_icon(one, _=0):
    """A small picture within the header, whose pixels come before the slice's own."""
    icon = Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel, icon.PhotometricInterpretation = 2, 2, 1, "MONOCHROME2"
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.add_new("PixelData", "OB", bytes(4))
    one.IconImageSequence = [icon]


@pytest.mark.parametrize(
    ("change", "numbers", "message"),
    [
        (
            {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
            None,
            "holds 24 bytes of pixels, and its header promises 12",
        ),
        ({"Rows": 2}, None, r"promises 12 \(2 rows of 3 pixels of 16 bits\)"),
        ({"PixelData": RAW[0, :2].tobytes()}, (3,), r"3\.dcm was cut short: its header promises 24 bytes"),
        ({"BitsStored": 12, "HighBit": 15}, (2,), r"2\.dcm has its 12 bits not in the lowest place .*HighBit 15"),
        (with_table, None, "by a table"),
        (with_table_too, None, "in two ways, by a table"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, None, r"0\.dcm is DICOM that ITK cannot read"),
        ({"ImagePositionPatient": [10, -20]}, (2,), r"2\.dcm does not say where it lies .*10"),
        ({"Modality": "PT"}, (2,), r"differ in modality: PT in 2\.dcm, CT in 4 others"),
    ],
)
def test_slices_that_are_not_what_they_say(tmp_path, change, numbers, message, ct_series):
    with pytest.raises(InputError, match=message):
        read_image(ct_series(tmp_path / "ct", RAW, change, numbers))


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_place_that_is_no_number(tmp_path, ct_series):
    with pytest.raises(InputError, match=r"2\.dcm does not say where it lies .*NaN"):
        read_image(ct_series(tmp_path / "ct", RAW, {"ImagePositionPatient": ["10", "-20", "NaN"]}, (2,)))


@pytest.mark.parametrize(
    "change",
    [
        with_icon,
        lambda one, _: setattr(one, "PixelData", one.PixelData + bytes(6)),
        lambda one, _: setattr(one["PixelData"], "VR", "UN"),
        {"RescaleType": "HU"},
    ],
)
def test_icons_and_zeros_after_the_pixels_change_nothing(tmp_path, change, ct_series):
    image = read_image(ct_series(tmp_path / "ct", RAW, change))
    np.testing.assert_array_equal(image.array, RAW.transpose(2, 1, 0) - 1024.0)


@pytest.mark.parametrize("scales", [[(1, -1024)] * 5, [(2, -1024)] * 5])
def test_frames_of_one_scale_are_scaled(tmp_path, scales, ct_frames):
    image = read_image(ct_frames(tmp_path / "all.dcm", RAW, {}, scales))
    np.testing.assert_array_equal(image.array, RAW.transpose(2, 1, 0) * float(scales[0][0]) - 1024.0)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([(1, -1024), (2, -1024), (1, -1024), (1, -1024), (1, -1024)], r"differ in rescale slope \(1.0 and 2.0\)"),
        ([(1, -1024), (1, 0), (1, -1024), (1, -1024), (1, -1024)], "differ in rescale intercept"),
        ([(1, -1024), None, None, (1, -1024), (1, -1024)], "the rescale intercept of 3 of its 5 frames alone"),
    ],
)
def test_frames_of_several_scales_are_refused(tmp_path, scales, message, ct_frames):
    with pytest.raises(InputError, match=message):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, {}, scales))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PixelData": RAW[:4].tobytes()}, "was cut short: its header promises 120 bytes"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "holds 120 bytes of pixels, and its header promises 60"),
    ],
)
def test_frames_whose_pixels_do_not_fit(tmp_path, change, message, ct_frames):
    with pytest.raises(InputError, match=message):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, change))


@pytest.mark.filterwarnings("ignore:Invalid value for VR IS")
@pytest.mark.parametrize("count", ["4.", "x", "-5", "5\\5"])
def test_a_number_of_frames_that_is_none(tmp_path, count, ct_frames):
    path = ct_frames(tmp_path / "all.dcm", RAW, {"NumberOfFrames": 77})
    written = count.encode().ljust(2)
    length = len(written) + len(written) % 2
    head, _, rest = path.read_bytes().partition(b"\x28\0\x08\0IS\x02\x0077")
    path.write_bytes(head + b"\x28\0\x08\0IS" + bytes([length, 0]) + written.ljust(length) + rest)
    with pytest.raises(InputError, match=f"has {re.escape(count)} for its NumberOfFrames, which is no count"):
        read_image(path)


def test_a_step_that_is_no_number(tmp_path, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, {"SpacingBetweenSlices": "1234"})
    path = folder / "2.dcm"
    path.write_bytes(path.read_bytes().replace(b"\x18\0\x88\0DS\x04\x001234", b"\x18\0\x88\0DS\x04\x00none"))
    with pytest.raises(InputError, match=r"2\.dcm has none for its SpacingBetweenSlices, which is no number"):
        read_image(folder)


def test_compressed_pixels_beside_an_icon_are_left_to_the_decoder(tmp_path, ct_slice):
    one = ct_slice(RAW[0], 0)
    one.compress(pydicom.uid.RLELossless)
    with_icon(one)
    one.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    sizes = {
        "0028|0010": "4",
        "0028|0011": "3",
        "0028|0100": "16",
        "0028|0101": "16",
        "0028|0102": "15",
        "0028|1053": "1",
    }
    assert not has_bits_beyond(tmp_path / "rle.dcm", sizes)


def test_a_long_number_of_frames_in_turns_is_told(tmp_path, monkeypatch, ct_frames):
    """As long as Python writes out no number."""
    monkeypatch.setattr(pydicom.config, "replace_un_with_known_vr", False)

    def change(file, _):
        for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
            frame.FrameContentSequence = [Dataset()]
            frame.FrameContentSequence[0].add_new("TemporalPositionIndex", "UN", bytes([k % 2 + 1, *bytes(7)]) * 500)

    with pytest.raises(InputError, match=r"several phases \(TemporalPositionIndex 1, 2\) that lie between each other"):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, change))


@pytest.mark.parametrize("samples", [None, 1])
def test_compressed_colours_that_do_not_say_how_many_are_refused(tmp_path, samples, ct_series, ct_frames):
    """ITK calls them damaged."""

    def change(one, _):
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
        one.PixelData = bytes(36 * int(one.get("NumberOfFrames", 1)))
        one.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        one.SamplesPerPixel = samples
        if samples is None:
            del one.SamplesPerPixel

    for path in (ct_series(tmp_path / "ct", RAW, change), ct_frames(tmp_path / "all.dcm", RAW, change)):
        with pytest.raises(InputError, match=r"holds colours \(RGB\), not HU"):
            read_image(path)


def compressed(shape):
    """What gives a file a JPEG of random pixels, which its header calls grey, and as many as it has itself."""
    buffer = io.BytesIO()
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)).save(buffer, "JPEG")

    def change(one, k):
        one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
        one.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()] * int(one.get("NumberOfFrames", 1)))
        one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
        one.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit

    return change


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize(
    ("shape", "message"),
    [((4, 3, 3), "have 3 values each, as colours have"), ((5, 6), "has 5 rows of 6 pixels"), ((4, 3), None)],
)
def test_compressed_pictures_that_the_header_calls_something_else(
    tmp_path, multi_frame, shape, message, ct_series, ct_frames
):
    file, folder, change = tmp_path / "frames.dcm", tmp_path / "series", compressed(shape)
    source = ct_frames(file, RAW, change, [(1, -1024)] * 5) if multi_frame else ct_series(folder, RAW, change)
    if message is None:
        assert read_image(source).array.shape == (3, 4, 5)
        return
    with pytest.raises(InputError, match=f"contradicts itself: .*{message}"):
        read_image(source)


def stored_in(bits, value=None, kind="<u2"):
    """Pixels that say to have so many bits, all of one value if one is given."""
    changes = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int("i" in kind)}
    return changes if value is None else changes | {"PixelData": np.full((4, 3), value, kind).tobytes()}


def shifted_overlay(one, k):
    """An overlay among the pixels, in bit 12 (PS3.3 of 2003, C.9.2)."""
    one.BitsStored, one.HighBit = 12, 11
    one.PixelData = (RAW[k] | 1 << 12).tobytes()
    one.add_new(0x60000102, "US", 12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (stored_in(10), True),
        (stored_in(12), False),
        (stored_in(12, 63536, "<u2"), True),
        (stored_in(12, -2000, "<i2"), False),
        (stored_in(12, 2096, "<i2"), False),
        (stored_in(12, -3000, "<i2"), True),
        (shifted_overlay, False),
    ],
)
def test_pixels_of_more_bits_than_stated_are_told(tmp_path, change, told, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, change, (2, 3))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        read_image(folder)
    sentences = [str(one.message) for one in found]
    assert [f"{folder} has pixels of more than the" in one for one in sentences] == [True] * told
    assert all("in 2 of its 5 slices: what is above is left out" in one for one in sentences)


@pytest.mark.parametrize(
    ("number", "total", "told"),
    [(1, 3, "part 1 of 3"), (2, None, "part 2 of several"), (1, 1, None), (None, None, None)],
)
def test_a_part_of_a_concatenation_is_told(tmp_path, number, total, told, ct_frames):
    path = ct_frames(tmp_path / "all.dcm", RAW, {"InConcatenationNumber": number, "InConcatenationTotalNumber": total})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        image = read_image(path)
    np.testing.assert_array_equal(image.array, RAW.transpose(2, 1, 0) - 1024.0)
    assert [f"{path} is {told} of a concatenation" in str(one.message) for one in found] == [True] * bool(told)
