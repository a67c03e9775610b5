"""NRRD and MetaImage headers, written by hand: their axes, their endings, and a program with a decimal comma."""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.io import read_image, read_labels, to_itk, write_image

HU = np.arange(210, dtype="<i2").reshape(7, 6, 5) - 100


def nrrd(path, columns, origin="(10,20,30)"):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nencoding: raw\nendian: little\n"
        f"space: left-posterior-superior\nspace directions: {columns}\nspace origin: {origin}\n\n"
    )
    path.write_bytes(header.encode() + HU.tobytes(order="F"))
    return path


def mha(path, columns):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = {columns}\nOffset = 10 20 30\nElementSpacing = 0.8 0.8 5\nDimSize = 7 6 5\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + HU.tobytes(order="F"))
    return path


def skewed(path, shear):
    """j runs along y, k too, by ``shear`` mm a slice of 5 mm."""
    if path.suffix.lower() == ".nrrd":
        return nrrd(path, f"(0.8,0,0) (0,0.8,0) (0,{shear},5)")
    return mha(path, f"1 0 0 0 1 0 0 {shear / 5} 1")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".NRRD", ".MHA"])
def test_small_skews_are_mended_and_large_ones_refused_with_the_file_named(tmp_path, suffix):
    image = read_image(skewed(tmp_path / f"skew{suffix}", 0.02))
    assert np.array_equal(image.array, HU)
    np.testing.assert_allclose(
        image.grid.voxel_to_world([[0, 0, 0], [6, 5, 4]]), [[10, 20, 30], [14.8, 24.08, 50]], atol=0.05
    )
    path = tmp_path / f"sheared{suffix}"  # no two of the axes are at a right angle
    columns = np.array([[0.8, 0, 0], [0.2, 0.8, 0], [0.5, 1.5, 5]])
    if path.suffix.lower() == ".nrrd":
        nrrd(path, " ".join(f"({','.join(map(str, column))})" for column in columns))
    else:
        mha(path, " ".join(map(str, (columns / np.linalg.norm(columns, axis=1)[:, None]).ravel().tolist())))
    with pytest.raises(InputError, match=r"sheared\S* is sheared .* by up to \d\.\d mm"):
        read_image(path)


@pytest.mark.parametrize("make", [nrrd, mha])
def test_a_tilted_gantry_is_put_straight(tmp_path, make):
    """Of values that are linear in the world, linear interpolation within the slices gives them everywhere."""
    columns = np.array([[0.8, 0, 0], [0, 0.8, 0], [0, 1.5, 5]])
    values = (np.moveaxis(np.indices((7, 6, 5)), 0, -1) @ columns) @ [100, -70, 30]
    if make is nrrd:
        path = nrrd(tmp_path / "tilt.nrrd", " ".join(f"({','.join(map(str, column))})" for column in columns))
    else:
        lengths = np.linalg.norm(columns, axis=1)
        path = mha(tmp_path / "tilt.mha", " ".join(map(str, (columns / lengths[:, None]).ravel().tolist())))
        path.write_bytes(path.read_bytes().replace(b"0.8 0.8 5\n", f"0.8 0.8 {lengths[2]}\n".encode()))
    path.write_bytes(path.read_bytes().replace(HU.tobytes(order="F"), np.rint(values).astype("<i2").tobytes(order="F")))
    with pytest.warns(UserWarning, match=r"up to 6\.0 mm over 20 mm, as with a gantry tilted by 16\.7 degrees"):
        image = read_image(path)
    np.testing.assert_allclose(image.grid.direction, np.eye(3).ravel(), atol=1e-6)
    np.testing.assert_allclose(image.grid.spacing, [0.8, 0.8, 5], atol=1e-6)
    offsets = image.grid.voxel_to_world(np.moveaxis(np.indices(image.grid.size), 0, -1).reshape(-1, 3)) - [10, 20, 30]
    within = np.linalg.solve(columns.T, offsets.T).T
    seen = ((within >= -1e-5) & (within <= np.array([6, 5, 4]) + 1e-5)).all(axis=1)
    assert seen.sum() > 100
    np.testing.assert_allclose(image.array.ravel()[seen], (offsets @ [100, -70, 30])[seen], atol=1)
    assert (image.array.ravel()[~seen] == -1000).all()
    with pytest.warns(UserWarning, match="gantry tilted"):
        labels = read_labels(path)
    assert labels.grid == image.grid


@pytest.mark.parametrize(
    ("suffix", "second"),
    [(".nrrd", "1 0 0"), (".nrrd", "0 0 0"), (".mha", "1 0 0"), (".mha", "0 0 0"), (".mha", "nan 0 0")],
)
def test_axes_that_do_not_span_the_space(tmp_path, suffix, second):
    path = tmp_path / f"flat{suffix}"
    if suffix == ".nrrd":
        nrrd(path, f"(1,0,0) ({second.replace(' ', ',')}) (0,0,5)")
    else:
        mha(path, f"1 0 0 {second} 0 0 1")
    with pytest.raises(InputError) as error:
        read_image(path)
    message = str(error.value)
    assert str(path) in message
    assert "direction" in message
    assert "determinant" not in message


def test_direction_columns_of_another_length_than_one(tmp_path):
    with pytest.raises(InputError, match=r"columns are 2 1 1 long"):
        read_image(mha(tmp_path / "scan.mha", "2 0 0 0 1 0 0 0 1"))


@pytest.mark.skipif(shutil.which("localedef") is None, reason="needs localedef to make a locale with a decimal comma")
def test_a_program_with_a_decimal_comma(tmp_path):
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True)
    if made.returncode:
        pytest.skip("this system has no sources of the German locale")
    path = nrrd(tmp_path / "scan.nrrd", "(0.8,0,0) (0,0.8,0) (0,0,5.25)", "(10.5,20.25,-30.75)")
    program = (
        "import locale, sys; from mics.image.io import read_image\n"
        "locale.setlocale(locale.LC_NUMERIC, 'de_DE.UTF-8')\n"
        "print(*read_image(sys.argv[1]).grid.voxel_to_world([1, 1, 1]))\n"
        "print(locale.localeconv()['decimal_point'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env=os.environ | {"LOCPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, point = done.stdout.splitlines()
    np.testing.assert_allclose([float(number) for number in place.split()], [11.3, 21.05, -25.5], atol=1e-6)
    assert point == ","


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_flipped_bit_in_compressed_voxels_is_noticed(tmp_path, suffix, smooth_image, grids):
    # ITK makes a scan of what was in memory, or of the damaged voxels
    image = smooth_image(grids["lps"])
    write_image(image, tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    assert np.array_equal(read_image(tmp_path / f"whole{suffix}").array, image.array)
    begin = whole.index(b"\n\n" if suffix == ".nrrd" else b"LOCAL\n") + 20
    for place in np.random.default_rng(0).integers(begin, len(whole), 20):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << 3
        (tmp_path / f"damaged{suffix}").write_bytes(damaged)
        with pytest.raises(InputError, match=f"damaged{suffix} (is damaged|was cut short)"):
            read_image(tmp_path / f"damaged{suffix}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "dimension: 3\nsizes: 7 6 5\n",
            "sizes: 7 6 5\ndimension: 3\n",
            r"sizes before dimension\): put dimension first",
        ),
        ("space: left-posterior-superior\n", "", "no orientation"),
        ("raw", "bzip2", "encoding bzip2, which MICS does not read: save it with gzip or raw"),
        ("raw", "lz4", "encoding lz4"),
        ("dimension: 3\n", "", "no line dimension"),
        ("type: short\n", "", "no line type"),
        ("short", "block", "type block"),
    ],
)
def test_nrrd_lines_that_itk_does_not_read(tmp_path, old, new, message):
    path = nrrd(tmp_path / "scan.nrrd", "(1,0,0) (0,1,0) (0,0,5)")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with pytest.raises(InputError, match=rf"scan\.nrrd .*{message}") as error:
        read_image(path)
    assert "nrrd]" not in str(error.value)


@pytest.mark.parametrize("keys", ["Note:=a\nnote:=b", "note:=a\nnote:=b"])
def test_nrrd_keys_of_the_user_may_be_alike(tmp_path, keys):
    path = nrrd(tmp_path / "scan.nrrd", "(1,0,0) (0,1,0) (0,0,5)")
    sound = read_image(path)
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n" + keys.encode() + b"\n\n", 1))
    assert read_image(path) == sound


def test_an_nrrd_space_after_what_lies_in_it(tmp_path):
    path = nrrd(tmp_path / "scan.nrrd", "(1,0,0) (0,1,0) (0,0,5)")
    space = b"space: left-posterior-superior\n"
    content = path.read_bytes().replace(space, b"", 1)
    path.write_bytes(content.replace(b"\n\n", b"\n" + space + b"\n", 1))
    with pytest.raises(InputError, match=r"space directions before space.*: put space first"):
        read_image(path)


@pytest.mark.parametrize("size", ["99999 99999 99999", "70000 6 5", "7 6 50"])
def test_sizes_that_the_file_cannot_hold(tmp_path, size):
    for path in (mha(tmp_path / "a.mha", "1 0 0 0 1 0 0 0 1"), nrrd(tmp_path / "a.nrrd", "(1,0,0) (0,1,0) (0,0,5)")):
        path.write_bytes(path.read_bytes().replace(b"7 6 5\n", f"{size}\n".encode(), 1))
        with pytest.raises(InputError, match=f"{path.name} was cut short: its header promises"):
            read_image(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("compressed", [True, False])
def test_voxels_beside_the_header_are_found(tmp_path, suffix, compressed, smooth_image, grids):
    image = smooth_image(grids["oblique"])
    sitk.WriteImage(to_itk(image), str(tmp_path / f"scan{suffix}"), compressed)
    assert np.array_equal(read_image(tmp_path / f"scan{suffix}").array, image.array)


@pytest.mark.parametrize(
    ("suffix", "other", "message"),
    [
        (".mhd", "gone.raw", "voxels in .*gone.raw, which is not there"),
        (".nhdr", "gone.raw", "voxels in .*gone.raw, which is not there"),
        (".mhd", 300 * "x", "voxels in .*xxx, which is not there"),
        (".nhdr", 300 * "x", "voxels in .*xxx, which is not there"),
        (".mhd", "LIST\nscan.raw", "in several files"),
        (".mhd", "scan%03d.raw 0 4 1", "in several files"),
        (".nhdr", "LIST\nscan.raw", "in several files"),
        (".nhdr", "scan%03d.raw 0 4 1", "in several files"),
    ],
)
def test_voxels_in_several_files_or_nowhere(tmp_path, suffix, other, message):
    axes = "1 0 0 0 1 0 0 0 1" if suffix == ".mhd" else "(1,0,0) (0,1,0) (0,0,5)"
    whole = (mha if suffix == ".mhd" else nrrd)(tmp_path / "whole", axes).read_bytes()
    header, voxels = whole[: -HU.nbytes].decode(), whole[-HU.nbytes :]
    (tmp_path / "scan.raw").write_bytes(voxels)
    parted = header.replace("LOCAL", other) if suffix == ".mhd" else header.rstrip() + f"\ndata file: {other}\n"
    (tmp_path / f"scan{suffix}").write_text(parted)
    with pytest.raises(InputError, match=rf"scan{suffix} has its .*{message}"):
        read_image(tmp_path / f"scan{suffix}")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("space: left-posterior-superior", "space: scanner-xyz", "no orientation"),
        ("space: left-posterior-superior", "space: 3D-left-handed", "no orientation"),
        ("space: left-posterior-superior", 'space: LPS\nspace units: "um" "um" "um"', "lengths in um"),
        ("space origin: (10,20,30)\n", "", "no space origin"),
        ("(10,20,30)", "(nan,0,0)", "damaged space origin"),
        ("(10,20,30)", "none", "damaged space origin"),
        ("(0,1,0)", "(0,nan,0)", "damaged space directions"),
        ("(0,1,0)", "none", "axis without direction"),
        ("space directions: (1,0,0) (0,1,0) (0,0,5)", "spacings: 1 1 5", "no orientation"),
        ("type: short", "type: short\ntype: short", "two lines type"),
    ],
)
def test_nrrd_headers_that_itk_takes_for_something_else(tmp_path, before, after, message):
    path = nrrd(tmp_path / "scan.nrrd", "(1,0,0) (0,1,0) (0,0,5)")
    refused_when_changed(path, before, after, message)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("NDims = 3", "NDims = 3\nDistanceUnits = um", "lengths in um"),
        ("NDims = 3", "NDims = 3\nCenterOfRotation = 1 0 0", "about another point"),
        ("NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 2", "scale its values"),
        ("NDims = 3", "NDims = 3\nElementToIntensityFunctionOffset = -1024", "scale its values"),
        ("NDims = 3", "NDims = 3\nElementSpacing = 1 1 1", "two lines elementspacing"),
        ("NDims = 3", "NDims = 3\nPosition = 0 0 0", "origin in two ways"),
        ("Offset = 10 20 30\n", "", "no Offset"),
        ("Offset = 10 20 30", "Offset = 10 nan 30", "damaged origin"),
        ("ElementSpacing = 0.8 0.8 5", "ElementSpacing = 0,8 0,8 5", "damaged voxel size"),
        ("ElementSpacing = 0.8 0.8 5", "ElementSpacing = -0.8 0.8 5", "no voxel size above 0"),
        ("ElementSpacing = 0.8 0.8 5\n", "", "no voxel size above 0"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "Comment = TransformMatrix", "no orientation"),
        ("BinaryData = True", "BinaryData = False", "voxels as text"),
        ("OrderMSB = False", "OrderMSB = yes", "in which order its bytes are: .* is yes, neither True nor False"),
    ],
)
def test_metaimage_headers_that_itk_takes_for_something_else(tmp_path, before, after, message):
    refused_when_changed(mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1"), before, after, message)


def refused_when_changed(path, before, after, message):
    assert np.array_equal(read_image(path).array, HU)
    content = path.read_bytes()
    assert before.encode() in content
    path.write_bytes(content.replace(before.encode(), after.encode(), 1))
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def with_line(path, line, after):
    raw = path.read_bytes()
    assert after in raw
    path.write_bytes(raw.replace(after, after + line, 1))
    return path


@pytest.mark.parametrize(
    ("make", "columns", "stated", "instead"),
    [
        (nrrd, "(0.8,0,0) (0,0.8,0) (0,0,5)", b"7 6 5", b"7 6 3"),
        (nrrd, "(0.8,0,0) (0,0.8,0) (0,0,5)", b"short", b"uchar"),
        (mha, "1 0 0 0 1 0 0 0 1", b"7 6 5", b"7 6 3"),
        (mha, "1 0 0 0 1 0 0 0 1", b"SHORT", b"UCHAR"),
    ],
)
def test_more_voxels_than_the_header_tells_of(tmp_path, make, columns, stated, instead):
    path = make(tmp_path / f"scan.{make.__name__}", columns)
    raw = path.read_bytes()
    assert stated in raw
    path.write_bytes(raw.replace(stated, instead, 1))
    with pytest.raises(InputError, match=r"goes on after the \d+ bytes of voxels"):
        read_image(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"ElementByteOrderMSB = True\n", "order of its bytes in two ways"),
        (b"HeaderSize = 100\n", "where its voxels begin .HeaderSize 100"),
    ],
)
def test_metaimage_headers_that_contradict_themselves(tmp_path, line, message):
    path = mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1")
    with pytest.raises(InputError, match=message):
        read_image(with_line(path, line, b"BinaryDataByteOrderMSB = False\n"))


def test_a_number_of_dimensions_other_than_the_sizes(tmp_path):
    path = mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1")
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = 4"))
    with pytest.raises(InputError, match="NDims is 4 in its header, and DimSize has 3"):
        read_image(path)


def test_values_that_nrrd_wants_scaled(tmp_path):
    path = nrrd(tmp_path / "scan.nrrd", "(0.8,0,0) (0,0.8,0) (0,0,5)")
    with pytest.raises(InputError, match=r"asks to scale its values .old min, old max"):
        read_image(with_line(path, b"old min: -1024\nold max: 3071\n", b"encoding: raw\n"))


@pytest.mark.parametrize("kinds", ["domain domain time", "RGB-color domain domain", "list space space"])
def test_axes_that_are_none_of_space(tmp_path, kinds):
    path = nrrd(tmp_path / "scan.nrrd", "(0.8,0,0) (0,0.8,0) (0,0,5)")
    with pytest.raises(InputError, match=f"the kinds of its axes are {kinds.lower()}"):
        read_image(with_line(path, f"kinds: {kinds}\n".encode(), b"dimension: 3\n"))


def test_a_metaimage_size_that_is_no_whole_numbers(tmp_path):
    path = mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1")
    path.write_bytes(path.read_bytes().replace(b"7 6 5", b"7,6,5"))
    with pytest.raises(InputError, match="DimSize is 7,6,5, not whole numbers"):
        read_image(path)


def test_metaimage_lines_with_a_colon(tmp_path):
    path = mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1")
    path.write_bytes(path.read_bytes().replace(b" = ", b": "))
    assert np.array_equal(read_image(path).array, HU)


@pytest.mark.parametrize("letters", ["RAI", "LPS", "???"])
def test_letters_for_the_axes_that_say_something_else_than_the_matrix(tmp_path, letters):
    """ITK writes RAI, where the axes come from, for the identity."""
    itk = sitk.GetImageFromArray(np.ascontiguousarray(HU.T))
    sitk.WriteImage(itk, str(tmp_path / "scan.mha"))
    raw = (tmp_path / "scan.mha").read_bytes()
    assert b"AnatomicalOrientation = RAI" in raw
    (tmp_path / "scan.mha").write_bytes(raw.replace(b"Orientation = RAI", f"Orientation = {letters}".encode()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(tmp_path / "scan.mha")
    assert image.grid.direction == sitk.ReadImage(str(tmp_path / "scan.mha")).GetDirection()
    messages = [str(one.message) for one in caught]
    assert len(messages) == (letters == "LPS")
    assert all("LPS by AnatomicalOrientation and RAI by TransformMatrix" in message for message in messages)


def test_two_sizes_of_voxels_are_told(tmp_path):
    path = mha(tmp_path / "scan.mha", "1 0 0 0 1 0 0 0 1")
    with pytest.warns(UserWarning, match="0.8 0.8 5 by ElementSpacing, which is taken, and 0.8 0.8 3 by ElementSize"):
        image = read_image(with_line(path, b"ElementSize = 0.8 0.8 3\n", b"NDims = 3\n"))
    assert image.grid.spacing == (0.8, 0.8, 5)


@pytest.mark.parametrize("make", [nrrd, mha])
def test_more_labels_than_the_header_tells_of_are_noticed_behind_much_background(tmp_path, make):
    path = make(tmp_path / f"labels.{make.__name__}", {nrrd: "(1,0,0) (0,1,0) (0,0,5)", mha: "1 0 0 0 1 0 0 0 1"}[make])
    path.write_bytes(path.read_bytes() + bytes(1 << 19) + b"\1")
    with pytest.raises(InputError, match="goes on after the 420 bytes of voxels"):
        read_labels(path)
