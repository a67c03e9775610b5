"""Multi-frame DICOM files: their frames lie where their own positions say."""

import struct

import numpy as np
import pydicom
import pytest

from mics.errors import InputError
from mics.image.io import read_image

HU = np.random.default_rng(0).integers(-1000, 1500, size=(8, 6, 5)).astype(np.int16)
EXPLICIT, ENHANCED = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2.1"


def element(group, number, kind, value):
    """An element in explicit little-endian form, DICOM PS3.5, 7.1.2."""
    if isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2) if kind != "SQ" else b""
    long = kind in ("OB", "OW", "SQ")
    return (
        struct.pack("<HH2s", group, number, kind.encode())
        + struct.pack("<HI" if long else "<H", *([0] * long), len(value))
        + value
    )


def sequence(group, number, *items):
    return element(
        group, number, "SQ", b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    )


def write_frames(path, order=range(5), positions=None, orientation="1\\0\\0\\0\\1\\0", aside=0.0):
    """The slices of HU in the frames' ``order``, each ``aside`` mm further along the columns than the one below."""
    meta = element(2, 2, "UI", ENHANCED) + element(2, 3, "UI", "1.2.3.1") + element(2, 0x10, "UI", EXPLICIT)
    positions = [30 + 2.5 * k for k in order] if positions is None else positions
    shared = (
        sequence(0x20, 0x9116, element(0x20, 0x37, "DS", orientation))
        + sequence(0x28, 0x9110, element(0x18, 0x88, "DS", "2.5") + element(0x28, 0x30, "DS", "0.9\\0.8"))
        + sequence(0x28, 0x9145, element(0x28, 0x1052, "DS", "-1024") + element(0x28, 0x1053, "DS", "1"))
    )
    frames = [
        sequence(0x20, 0x9113, element(0x20, 0x32, "DS", f"10\\{-20 + (z - 30) / 2.5 * aside:g}\\{z:g}"))
        for z in positions
    ]
    data = (
        element(8, 0x16, "UI", ENHANCED)
        + element(8, 0x18, "UI", "1.2.3.1")
        + element(8, 0x60, "CS", "CT")
        + element(0x20, 0xD, "UI", "1.2.3.2")
        + element(0x20, 0xE, "UI", "1.2.3.3")
        + element(0x28, 2, "US", struct.pack("<H", 1))
        + element(0x28, 4, "CS", "MONOCHROME2")
        + element(0x28, 8, "IS", str(len(positions)))
        + b"".join(
            element(0x28, number, "US", struct.pack("<H", value))
            for number, value in ((0x10, 6), (0x11, 8), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0))
        )
        + sequence(0x5200, 0x9229, shared)
        + sequence(0x5200, 0x9230, *frames)
        + element(0x7FE0, 0x10, "OW", b"".join((HU[:, :, k] + 1024).astype("<u2").tobytes(order="F") for k in order))
    )
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + data)


@pytest.mark.parametrize("order", [range(5), range(4, -1, -1), [2, 0, 4, 1, 3]], ids=["rising", "falling", "mixed"])
def test_a_multi_frame_file_is_a_volume(tmp_path, order):
    write_frames(tmp_path / "ct" / "all.dcm", order)
    for path in (tmp_path / "ct", tmp_path / "ct" / "all.dcm"):
        image = read_image(path)
        assert np.array_equal(image.array, HU)
        assert image.array.dtype == np.float32
        np.testing.assert_allclose(image.grid.voxel_to_world([3, 2, 4]), [12.4, -18.2, 40], atol=1e-3)


def test_a_multi_frame_file_with_a_gap(tmp_path):
    write_frames(tmp_path / "ct" / "all.dcm", positions=[30, 32.5, 37.5, 40, 42.5])
    with pytest.raises(InputError, match=r"5 mm between numbers 2 and 3 of 5, most are 2\.5 mm"):
        read_image(tmp_path / "ct" / "all.dcm")


# --- slices at random -------------------------------------------------------------------------------------------------


def test_a_multi_frame_file_is_read_as_by_pydicom(tmp_path):
    write_frames(tmp_path / "all.dcm", [2, 0, 4, 1, 3])
    image = read_image(tmp_path / "all.dcm")
    file = pydicom.dcmread(tmp_path / "all.dcm")
    frames = [
        (float(group.PlanePositionSequence[0].ImagePositionPatient[2]), frame.T - 1024.0)
        for group, frame in zip(file.PerFrameFunctionalGroupsSequence, file.pixel_array, strict=True)
    ]
    frames.sort(key=lambda one: one[0])
    np.testing.assert_array_equal(image.array, np.stack([frame for _, frame in frames], axis=2))
    np.testing.assert_allclose(
        image.grid.voxel_to_world([[0, 0, k] for k in range(5)])[:, 2], [height for height, _ in frames], atol=1e-6
    )


def test_frames_of_a_tilted_gantry_are_put_straight(tmp_path):
    """Each frame one pixel of 0.9 mm further along the columns: nothing is between pixels, so that all values stay."""
    write_frames(tmp_path / "ct.dcm", aside=0.9)
    with pytest.warns(UserWarning, match="by up to 3.6 mm over 10 mm"):
        image = read_image(tmp_path / "ct.dcm")
    assert image.grid.size == (8, 10, 5)
    for k in range(5):
        np.testing.assert_array_equal(image.array[:, k : k + 6, k], HU[:, :, k])
        assert (np.delete(image.array[:, :, k], range(k, k + 6), axis=1) == -1000).all()


@pytest.mark.parametrize("name", ["volume.IMA", "IM0001"])
def test_a_multi_frame_file_of_any_name_is_read(tmp_path, name):
    write_frames(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name).array, HU)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["frames", "frames.dcm"])
def test_a_multi_frame_file_without_preamble_is_read(tmp_path, name, implicit):
    write_frames(tmp_path / "whole")
    file = pydicom.dcmread(tmp_path / "whole")
    file.preamble = None
    del file.file_meta
    file.save_as(tmp_path / name, implicit_vr=implicit, little_endian=True)
    assert np.array_equal(read_image(tmp_path / name).array, HU)
