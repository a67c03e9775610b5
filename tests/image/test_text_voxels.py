"""Voxels behind NRRD and MetaImage headers, written by hand, that are others than the header says."""

import gzip
import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mics.errors import InputError
from mics.image.io import read_image

HU = np.arange(210, dtype="<i2").reshape(7, 6, 5, order="F") - 100
RAW = HU.tobytes(order="F")
NUMBERS = [str(value) for value in HU.ravel(order="F")]


def nrrd(folder, encoding, data, *, lines="", kind="short", beside=None):
    """An .nrrd with ``data``, or an .nhdr whose data are in a file ``beside``."""
    header = (
        f"NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\n"
        "space directions: (0.8,0,0) (0,0.8,0) (0,0,5)\nspace origin: (10,20,30)\n"
        f"endian: little\nencoding: {encoding}\n{lines}"
    )
    if beside is None:
        path = folder / "scan.nrrd"
        path.write_bytes(f"{header}\n".encode() + data)
        return path
    path = folder / "scan.nhdr"
    path.write_text(f"{header}data file: {beside}\n\n")
    (folder / beside).write_bytes(data)
    return path


def mha(folder, lines, data, *, beside=None):
    path = folder / ("scan.mha" if beside is None else "scan.mhd")
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{lines}"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 0.8 0.8 5\nDimSize = 7 6 5\n"
        f"ElementType = MET_SHORT\nElementDataFile = {beside or 'LOCAL'}\n"
    ).encode()
    path.write_bytes(header + (data if beside is None else b""))
    if beside is not None:
        (folder / beside).write_bytes(data)
    return path


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("RAW", RAW),
        ("Gzip", gzip.compress(RAW)),
        ("hex", RAW.hex().encode()),
        ("hex", b"\n".join(RAW.hex().encode()[n : n + 30] for n in range(0, 840, 30)) + b"\n"),
        ("ascii", " ".join(NUMBERS).encode()),
        ("text", ",\n ".join(NUMBERS).encode()),
    ],
)
def test_every_encoding_in_any_capitals_is_read(tmp_path, encoding, data):
    assert np.array_equal(read_image(nrrd(tmp_path, encoding, data)).array, HU)


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("RAW", RAW * 2, "goes on after the 420 bytes"),
        ("RAW", RAW[:-1], "was cut short: its header promises 420 bytes"),
        ("GZIP", gzip.compress(RAW * 2), "unpack to more than the 420 bytes"),
        ("GZIP", gzip.compress(RAW)[:-5], "compressed data break off"),
        ("hex", RAW.hex().encode() + b"00", "goes on after the 420 bytes"),
        ("hex", RAW.hex().encode()[:-2], "was cut short"),
        ("ascii", " ".join([*NUMBERS, "7"]).encode(), "holds 211 numbers and its header promises 210"),
        ("ascii", " ".join(NUMBERS[1:]).encode(), "holds 209 numbers and its header promises 210"),
    ],
)
def test_more_or_fewer_voxels_in_every_encoding(tmp_path, encoding, data, message):
    refused(nrrd(tmp_path, encoding, data), message)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("short", "99999"), ("short", "1.5"), ("short", "1e3"), ("uchar", "-1"), ("float", "1,5"), ("short", "x")],
)
def test_numbers_that_itk_would_read_in_part(tmp_path, kind, number):
    """By scanf: 1.5 as 1, 1e3 as 1, 99999 as -31073."""
    text = " ".join([number, *["7"] * 209]).encode()
    refused(nrrd(tmp_path, "ascii", text, kind=kind), f"has '{number}' among its voxels, which is no")


@pytest.mark.parametrize("number", ["1.5", "-.5", "1e3", "+2", "1."])
def test_real_numbers_as_text_are_read(tmp_path, number):
    image = read_image(nrrd(tmp_path, "ascii", " ".join([number, *["7"] * 209]).encode(), kind="float"))
    assert image.array[0, 0, 0] == np.float32(float(number))


@pytest.mark.parametrize(
    ("lines", "before"),
    [("byte skip: 5\n", b"12345"), ("byte skip: -1\n", b"what ever"), ("line skip: 2\n", b"one\ntwo\n")],
)
def test_what_is_skipped_before_the_voxels(tmp_path, lines, before):
    assert np.array_equal(read_image(nrrd(tmp_path, "raw", before + RAW, lines=lines, beside="a.raw")).array, HU)
    if "-1" not in lines:
        refused(nrrd(tmp_path, "raw", before + RAW + b"more", lines=lines, beside="a.raw"), "goes on after")
    refused(nrrd(tmp_path, "raw", RAW[:-9], lines=lines, beside="a.raw"), "cut short|cannot be read")


@pytest.mark.parametrize(("size", "before"), [("8", b"12345678"), ("-1", b"what ever"), ("0", b"")])
def test_a_metaimage_header_within_the_voxels_file(tmp_path, size, before):
    lines = f"HeaderSize = {size}\n"
    assert np.array_equal(read_image(mha(tmp_path, lines, before + RAW, beside="a.raw")).array, HU)
    if size != "-1":
        refused(mha(tmp_path, lines, before + RAW + b"more", beside="a.raw"), "goes on after the 420 bytes")
    refused(mha(tmp_path, lines, before + RAW[:-12], beside="a.raw"), "was cut short")


@pytest.mark.parametrize("true", ["True", "TRUE", "t", "1"])
def test_the_number_of_compressed_bytes_that_metaimage_asks_for(tmp_path, true):
    """Without it, or with a wrong one, ITK's reader makes a scan of whatever memory held."""
    packed = zlib.compress(RAW)
    lines = f"CompressedData = {true}\n"
    whole = mha(tmp_path, f"{lines}CompressedDataSize = {len(packed)}\n", packed)
    assert np.array_equal(read_image(whole).array, HU)
    refused(mha(tmp_path, lines, packed), f"has {len(packed)} bytes of compressed voxels and states none")
    for other in (10, len(packed) + 1, 99999999999):
        refused(mha(tmp_path, f"{lines}CompressedDataSize = {other}\n", packed), f"voxels and states {other}")
    assert np.array_equal(read_image(mha(tmp_path, lines, packed, beside="a.zraw")).array, HU)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_compressed_voxels_that_the_header_calls_raw(tmp_path, pack):
    constant = pack(bytes(len(RAW)))
    assert len(constant) < len(RAW)
    refused(mha(tmp_path, "CompressedData = False\n", constant), "they look compressed: say so there")
    refused(nrrd(tmp_path, "raw", constant), "they look compressed: say so there")


def test_whether_metaimage_is_compressed_is_true_or_false(tmp_path):
    refused(
        mha(tmp_path, "CompressedData = yes\n", zlib.compress(RAW)), "CompressedData is yes, neither True nor False"
    )
    assert np.array_equal(read_image(mha(tmp_path, "CompressedData = False\n", RAW)).array, HU)


def test_a_size_behind_the_line_that_names_the_voxels_file_hides_no_missing_file(tmp_path):
    """Found by fuzzing: ITK takes a line without a value together with the next one, and reads on."""
    path = tmp_path / "scan.mha"
    lines = ("ObjectType = Image", "NDims = 3", "BinaryData = True", "CompressedData = True", "CenterOfRotation ")
    behind = ("ElementSpacing = 1 2 3", "DimSize = 4 3 2", "ElementType = MET_FLOAT", "ElementDataFile = LOCAL", "")
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCALtation", *behind]).encode() + zlib.compress(bytes(96)))
    with pytest.raises(InputError, match="LOCALtation, which is not there"):
        read_image(path)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3 * 40 * 41 * 42), max_size=4), st.integers(0, 9))
def test_nrrd_voxels_in_several_members_of_gzip_are_read(tmp_path_factory, cuts, level):
    """As pigz, bgzip or cat leave them; the numbers are large enough for no reader's buffer to hold them."""
    values = np.random.default_rng(0).integers(-1000, 1000, (40, 41, 42), dtype=np.int16)
    raw = values.astype("<i2").tobytes(order="F")
    bounds = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    members = [gzip.compress(raw[a:b], level) for a, b in itertools.pairwise(bounds)]
    folder = tmp_path_factory.mktemp("members")
    path = nrrd(folder, "gzip", b"".join(members))
    path.write_bytes(path.read_bytes().replace(b"sizes: 7 6 5", b"sizes: 40 41 42", 1))
    np.testing.assert_array_equal(read_image(path).array, values)
    for data, message in ((b"".join(members)[:-9], "break off"), (b"".join([*members, members[0]]), "unpack to more")):
        path = nrrd(folder, "gzip", data)
        path.write_bytes(path.read_bytes().replace(b"sizes: 7 6 5", b"sizes: 40 41 42", 1))
        with pytest.raises(InputError, match=message):
            read_image(path)
