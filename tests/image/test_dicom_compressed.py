"""Compressed pixels, sound and broken: read as they were before, or refused where ITK would end the process or wait for ever."""

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from mics.errors import InputError
from mics.image.io import read_image

RAW = np.random.default_rng(0).integers(0, 2000, (5, 40, 32)).astype("<u2")  # slices, rows, columns
SYNTAXES = {"rle": pydicom.uid.RLELossless, "jpeg-ls": pydicom.uid.JPEGLSLossless}


def compressed(syntax, change=lambda picture: picture):
    """A change of a slice: its pixels compressed, what stands for them changed once more."""

    def compress(one, _):
        one.compress(SYNTAXES[syntax], generate_instance_uid=False)
        pictures = generate_frames(one.PixelData, number_of_frames=int(one.get("NumberOfFrames", 1)))
        one.PixelData = encapsulate([change(picture) for picture in pictures])
        one["PixelData"].is_undefined_length, one["PixelData"].VR = True, "OB"

    return compress


def width_of_zero(picture):
    """JPEG-LS that gives its lines 0 pixels (ISO 14495-1, C.2.2)."""
    at = picture.index(b"\xff\xf7") + 7
    return picture[:at] + bytes(2) + picture[at + 2 :]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sound_ones_are_read(tmp_path, syntax, ct_series, ct_frames):
    series = ct_series(tmp_path / "ct", RAW, compressed(syntax))
    frames = ct_frames(tmp_path / "all.dcm", RAW, compressed(syntax))
    for path in (series, frames):
        np.testing.assert_array_equal(read_image(path).array, RAW.transpose(2, 1, 0) - 1024.0)


@pytest.mark.parametrize(
    ("syntax", "change"),
    [("rle", lambda picture: bytes(len(picture))), ("jpeg-ls", width_of_zero)],
)
def test_pictures_with_which_itk_ends_the_process_are_refused(tmp_path, syntax, change, ct_series, ct_frames):
    series = ct_series(tmp_path / "ct", RAW, compressed(syntax, change), (3,))
    with pytest.raises(InputError, match=r"3\.dcm is damaged: its compressed pixels"):
        read_image(series)
    with pytest.raises(InputError, match=r"all\.dcm is damaged: its compressed pixels"):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, compressed(syntax, change)))


def test_more_bits_than_jpeg_has_are_refused(tmp_path, ct_series):
    """The byte of a lossless JPEG that says its bits (ISO 10918-1, B.2.2) is enough for ITK to write beyond its memory."""
    start = bytes.fromhex("ffd8 ffc3 000b 1d 0028 0020 01 01 11 00")

    def change(one, _):
        one.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        one.PixelData = encapsulate([start + bytes(200)])
        one["PixelData"].is_undefined_length, one["PixelData"].VR = True, "OB"

    with pytest.raises(InputError, match=r"3\.dcm is damaged: its compressed pixels"):
        read_image(ct_series(tmp_path / "ct", RAW, change, (3,)))


@pytest.mark.parametrize("length", [0, 0xFF0000])
def test_lengths_of_items_that_lead_nowhere_are_refused(tmp_path, length, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, compressed("jpeg-ls"))
    content = bytearray((folder / "3.dcm").read_bytes())
    at = content.index(b"\xff\xff\xff\xff\xfe\xff\x00\xe0") + 8
    content[at : at + 4] = length.to_bytes(4, "little")
    (folder / "3.dcm").write_bytes(content)
    with pytest.raises(InputError, match=r"3\.dcm is damaged: its compressed pixels"):
        read_image(folder)


def test_a_slice_that_cannot_be_unpacked_is_named_with_the_mend(tmp_path, ct_series):
    def change(one, _):
        one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"  # High-Throughput JPEG 2000
        one.PixelData = encapsulate([b"\xff\x4f" + bytes(100)])
        one["PixelData"].is_undefined_length, one["PixelData"].VR = True, "OB"

    folder = ct_series(tmp_path / "ct", RAW, change, (3,))
    with pytest.raises(InputError, match=r"3\.dcm is DICOM that ITK cannot read: export it again, uncompressed\."):
        read_image(folder)
