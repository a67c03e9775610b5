"""Slices and frames in every transfer syntax, with what ITK misreads in them, against pydicom."""

import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import nullcontext

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from mics.errors import InputError
from mics.image.dicom_elements import dataset_of
from mics.image.io import read_image

RAW = np.random.default_rng(0).integers(1, 2000, (5, 4, 3)).astype("<u2")  # slices, rows, columns
HU = RAW.transpose(2, 1, 0) - 1024.0


SOUND = {
    "plain": {},
    "display the other way round": {"PhotometricInterpretation": "MONOCHROME1"},
    "a step of 0": {"SpacingBetweenSlices": "0"},
    "a step of -2.5": {"SpacingBetweenSlices": "-2.5"},
    "a step of 0 in many digits": {"SpacingBetweenSlices": "0.000000000000"},
    "a step of -2.5 in many digits": {"SpacingBetweenSlices": "-2.500000000000"},
}


@pytest.mark.parametrize("change", SOUND)
def test_slices_are_read_in_every_syntax(tmp_path, syntax, change, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, SOUND[change], syntax=syntax)
    image = read_image(folder)
    slices = [pydicom.dcmread(folder / f"{k}.dcm") for k in range(5)]
    by_pydicom = np.stack([pydicom.pixels.apply_rescale(one.pixel_array, one).T for one in slices], axis=2)
    np.testing.assert_array_equal(by_pydicom, HU)
    np.testing.assert_array_equal(image.array, by_pydicom)
    np.testing.assert_allclose(image.grid.voxel_to_world([2, 3, 4]), [11.6, -17.3, 10], atol=1e-4)


@pytest.mark.parametrize("change", [{"Rows": 2}, {"Rows": 9}, {"BitsStored": 12}])
def test_slices_whose_pixels_do_not_fit_are_refused_in_every_syntax(tmp_path, syntax, change, ct_series):
    with pytest.raises(InputError, match=r"contradicts itself|was cut short|not in the lowest place"):
        read_image(ct_series(tmp_path / "ct", RAW, change, syntax=syntax))


def no_step(one, _):
    one.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = "0"


def beside(one, _):
    """Positions and sizes that are not the frames': of a referenced image, of an icon, in a private element, and in none."""
    one.ReferencedImageSequence, one.IconImageSequence = [Dataset()], [Dataset()]
    one.ReferencedImageSequence[0].ImagePositionPatient = [0, 0, 0]
    one.IconImageSequence[0].PixelSpacing = [5, 5]
    block = one.PerFrameFunctionalGroupsSequence[2].private_block(0x11, "X", create=True)
    block.add_new(1, "OB", b"\x20\0\x32\0DS\x06\x001\\2\\3 ")
    one.ImagePositionPatient, one.PixelSpacing = [10, -20, 0], [0.9, 0.8]


def empty(one, _):
    one.RescaleSlope, one.RescaleIntercept, one.PixelSpacing = None, None, None


FRAMES = {
    "plain": {},
    "empty": empty,
    "display": SOUND["display the other way round"],
    "no step": no_step,
    "beside": beside,
}


@pytest.mark.parametrize("change", FRAMES)
def test_frames_are_read_in_every_syntax(tmp_path, syntax, change, ct_frames):
    path = ct_frames(tmp_path / "all.dcm", RAW, FRAMES[change], syntax=syntax)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, pydicom.dcmread(path).pixel_array.transpose(2, 1, 0) - 1024.0)
    np.testing.assert_array_equal(image.array, HU)
    np.testing.assert_allclose(image.grid.voxel_to_world([2, 3, 4]), [11.6, -17.3, 10], atol=1e-4)


def test_functional_groups_of_unknown_type_are_read(tmp_path, ct_frames):
    """Their sequences then are implicit and little-endian (PS3.5, 6.2.2)."""
    path, implicit = (
        ct_frames(tmp_path / "all.dcm", RAW, {}),
        ct_frames(tmp_path / "implicit.dcm", RAW, {}, syntax="implicit"),
    )
    content, groups = path.read_bytes(), implicit.read_bytes()
    groups = groups[groups.index(b"\0\x52\x29\x92") : groups.index(b"\xe0\x7f\x10\0")]
    unknown = b""
    while groups:
        length = int.from_bytes(groups[4:8], "little")
        unknown += groups[:4] + b"UN\0\0" + groups[4 : 8 + length]
        groups = groups[8 + length :]
    first, pixels = content.index(b"\0\x52\x29\x92"), content.index(b"\xe0\x7f\x10\0")
    path.write_bytes(content[:first] + unknown + content[pixels:])
    image = read_image(path)
    np.testing.assert_array_equal(image.array, pydicom.dcmread(path).pixel_array.transpose(2, 1, 0) - 1024.0)
    np.testing.assert_allclose(image.grid.voxel_to_world([2, 3, 4]), [11.6, -17.3, 10], atol=1e-4)


def in_turns(name, values):
    def change(one, _):
        for k, frame in enumerate(one.PerFrameFunctionalGroupsSequence):
            setattr(frame.FrameContentSequence[0], name, values[k % 2])

    return change


def scaled(one, _):
    one.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0].RescaleIntercept = "0"


def scaled_twice(one, _):
    scale = Dataset()
    scale.RescaleSlope, scale.RescaleIntercept = "1", "-1000"
    one.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [scale]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_turns("StackID", ["1", "2"]), r"several stacks \(StackID 1, 2\) that lie between each other"),
        (in_turns("TemporalPositionIndex", [1, 2]), r"several phases \(TemporalPositionIndex 1, 2\)"),
        (in_turns("FrameAcquisitionNumber", [4, 3]), r"several acquisitions \(FrameAcquisitionNumber 3, 4\)"),
        (scaled, r"differ in rescale intercept \(-1024\.0 and 0\.0\)|\(-1024 and 0\)"),
        (scaled_twice, r"differ in rescale intercept \(-1024(\.0)? and -1000(\.0)?\)"),
        ({"NumberOfFrames": 4}, "contradicts itself: it holds 120 bytes of pixels"),
    ],
)
def test_frames_of_several_volumes_or_scales_are_refused_in_every_syntax(tmp_path, syntax, change, message, ct_frames):
    with pytest.raises(InputError, match=message):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, change, syntax=syntax))


def test_frames_whose_values_are_called_something_else_are_told(tmp_path, syntax, ct_frames):
    def change(one, _):
        for frame in one.PerFrameFunctionalGroupsSequence:
            frame.PixelValueTransformationSequence[0].RescaleType = "Z_EFF"

    with pytest.warns(UserWarning, match="values of the kind Z_EFF, not HU"):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, change, syntax=syntax))


def red_green_blue(raw):
    return {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": bytes(range(36)) * raw,
    }


def test_colours_are_no_hu(tmp_path, ct_series, ct_frames):
    """ITK makes them grey where real numbers are asked for."""
    with pytest.raises(InputError, match=r"holds colours \(RGB\), not HU"):
        read_image(ct_series(tmp_path / "ct", RAW, red_green_blue(1)))
    with pytest.raises(InputError, match=r"holds colours \(RGB\), not HU"):
        read_image(ct_frames(tmp_path / "all.dcm", RAW, red_green_blue(5)))


def test_several_multi_frame_files_are_no_slices(tmp_path, ct_frames):
    (tmp_path / "ct").mkdir()
    ct_frames(tmp_path / "ct" / "a.dcm", RAW, {})
    ct_frames(tmp_path / "ct" / "b.dcm", RAW, {"SOPInstanceUID": "1.2.3.9"})
    with pytest.raises(
        InputError, match=r"holds 2 files in one series, and several frames in 2 of them, the first a\.dcm"
    ):
        read_image(tmp_path / "ct")


def test_elements_are_those_that_pydicom_finds(tmp_path, syntax, ct_frames):
    path = ct_frames(tmp_path / "all.dcm", RAW, {}, syntax=syntax)
    found, expected = dataset_of(path.read_bytes()), pydicom.dcmread(path)
    assert found.elements.keys() == {int(element.tag) for element in expected}
    assert found.number(found.elements[0x00280010]) == expected.Rows == 4
    sequence = found.elements[0x52009230]
    assert [len(one) for one in sequence.items] == [len(one) for one in expected.PerFrameFunctionalGroupsSequence]


@pytest.mark.parametrize("kept", range(140, 1400, 60))
def test_elements_that_break_off_raise_nothing(tmp_path, syntax, kept, ct_frames):
    content = ct_frames(tmp_path / "all.dcm", RAW, {}, syntax=syntax).read_bytes()[:kept]
    dataset_of(content)
    dataset_of(content + bytes(200))
    dataset_of(bytes(np.random.default_rng(kept).integers(0, 256, 900, dtype=np.uint8)))


def test_elements_longer_than_what_holds_them_do_not_fill_the_memory():
    """Each would hold a copy of what is left of the file."""
    leaf = struct.pack("<HHIHH2sxxI", 0xFFFE, 0xE000, 12, 0x18, 0x10, b"UN", 1 << 30)
    items = struct.pack("<HH2sxxI", 8, 0x1140, b"SQ", 500 * len(leaf)) + 500 * leaf
    content = bytes(128) + b"DICM" + items + bytes(1 << 20)
    tracemalloc.start()
    assert dataset_of(content) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(content)


READ = """
import resource, sys
from mics.errors import InputError
from mics.image.io import read_image
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    read_image(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of memory")
def test_deflated_slices_that_unpack_to_more_than_the_memory(tmp_path, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, {}, syntax="deflated")
    content = (folder / "2.dcm").read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    plain, blocks = zlib.decompress(content[start:], -15), 500
    pixels = plain.index(b"\xe0\x7f\x10\0OW\0\0") + 8
    longer = plain[:pixels] + struct.pack("<I", len(plain) - pixels - 4 + (blocks << 20)) + plain[pixels + 4 :]
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(longer) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    (folder / "2.dcm").write_bytes(content[:start] + packed + blocks * block + packer.flush())
    run = subprocess.run([sys.executable, "-c", READ, folder], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert re.match(r".*2\.dcm unpacks to more than 0\.\d+ GB, more than one DICOM file may take", run.stdout), (
        run.stdout
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("KVP", ["80", "140"]),
        ("ConvolutionKernel", ["B30f", "B70f"]),
        ("TriggerTime", ["100", "400"]),
        ("ContrastBolusAgent", ["", "iodine"]),
        ("SeriesDescription", ["arterial", "venous"]),
        ("AcquisitionTime", ["120000", "120040"]),
        ("SliceThickness", ["1.25", "5"]),
        ("ReconstructionDiameter", ["360", "500"]),
        ("StudyInstanceUID", ["1.2.3.2", "1.2.3.4"]),
        ("ProtocolName", ["arterial", "venous"]),
        ("DeviceSerialNumber", ["7", "8"]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"]]),
    ],
)
def test_slices_of_two_scans_in_turns_are_refused(tmp_path, name, values, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, lambda one, k: setattr(one, name, values[k % 2]))
    with pytest.raises(InputError, match=rf"holds slices of several .*\({name} .*\) that lie between each other"):
        read_image(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AcquisitionTime", ["120000", "120001"]),
        ("ImageType", ["ORIGINAL", "DERIVED"]),
        ("TriggerTime", ["700", "712"]),
        ("SeriesDescription", ["abdomen", ""]),
        ("KVP", ["120", ""]),
        ("AcquisitionNumber", ["3", ""]),
        ("SliceThickness", ["2.5", "2.51"]),
        ("AcquisitionDate", ["20240101", "20240102"]),
    ],
)
def test_slices_of_one_scan_may_have_been_taken_or_worked_on_in_pieces(tmp_path, name, values, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, lambda one, k: setattr(one, name, values[k in (1, 3, 4)]))
    np.testing.assert_array_equal(read_image(folder).array, HU)


@pytest.mark.parametrize(("stated", "told"), [("15", True), ("-22.5", True), ("0", False), ("0.5", False), ("", False)])
def test_a_tilt_that_headers_tell_of_straight_slices(tmp_path, stated, told, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, {"GantryDetectorTilt": stated})
    word = (
        pytest.warns(UserWarning, match=rf"tilted by {stated} degrees, as its headers say") if told else nullcontext()
    )
    with word:
        np.testing.assert_array_equal(read_image(folder).array, HU)


def test_one_slice_of_another_kind_of_values_is_told(tmp_path, ct_series):
    folder = ct_series(tmp_path / "ct", RAW, lambda one, k: setattr(one, "RescaleType", "HU" if k != 2 else "Z_EFF"))
    with pytest.warns(UserWarning, match=r"kind Z_EFF, not HU, .*in 1 of its 5 slices"):
        read_image(folder)


def nested(one, _):
    """More sequences within each other than are followed."""
    one.PhotometricInterpretation, outer = "MONOCHROME1", one
    for _ in range(41):
        outer.ReferencedImageSequence = [Dataset()]
        outer = outer.ReferencedImageSequence[0]


@pytest.mark.parametrize("kind", [b"??", b"  ", b"XX", b"ox", b"\0\0"])
def test_types_that_are_none_are_passed_over_as_itk_does(tmp_path, kind, ct_series):
    """Else the display the other way round is not found, and the values are upside down."""
    folder = ct_series(tmp_path / "ct", RAW, SOUND["display the other way round"])
    length = struct.pack("<H" if kind == b"\0\0" else "<xxI", 4)
    for path in folder.iterdir():
        head, samples, rest = path.read_bytes().partition(b"\x28\0\2\0US")
        path.write_bytes(head + struct.pack("<HH2s", 0x19, 0x1001, kind) + length + b"abcd" + samples + rest)
    np.testing.assert_array_equal(read_image(folder).array, HU)


def test_what_itk_misreads_and_is_not_found_is_refused(tmp_path, ct_series, ct_frames):
    folder = ct_series(tmp_path / "ct", RAW, nested)
    with pytest.raises(InputError, match=r"0\.dcm has elements that cannot be followed, so .* MONOCHROME1 .*export"):
        read_image(folder)
    (tmp_path / "all").mkdir()
    ct_frames(tmp_path / "all" / "all.dcm", RAW, nested)
    for path in (tmp_path / "all", tmp_path / "all" / "all.dcm"):
        with pytest.raises(InputError, match=f"{path} has elements that cannot be followed"):
            read_image(path)


def test_frames_of_several_orientations_are_told(ct_frames, tmp_path):
    """A localiser among them: ITK says no more than that it cannot read the file."""

    def localiser(one, _):
        directions = [[1, 0, 0, 0, 1, 0]] * len(RAW)
        directions[0] = [1, 0, 0, 0, 0, -1]
        for frame, direction in zip(one.PerFrameFunctionalGroupsSequence, directions, strict=True):
            place = Dataset()
            place.ImageOrientationPatient = direction
            frame.PlaneOrientationSequence = [place]
        del one.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    with pytest.raises(InputError, match="holds frames that differ in orientation"):
        read_image(ct_frames(tmp_path / "ct.dcm", RAW, localiser))
