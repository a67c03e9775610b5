"""Files that are something else than their names say: told by what they are."""

import bz2
import gzip
import io
import lzma
import struct
import zipfile

import numpy as np
import pydicom
import pytest

from mics.errors import InputError
from mics.image.content import looks_like_dicom
from mics.image.io import read_image, write_image


def zipped(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("scan.nii", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        ("a.nii", lambda files: files[".nrrd"], "it is NRRD: let its name end in .nrrd"),
        ("a.nii.gz", lambda files: gzip.compress(files[".nrrd"]), "it is NRRD"),
        ("a.nii", lambda files: files[".mha"], "it is MetaImage"),
        ("a.nrrd", lambda files: files[".nii"], "it is NIfTI"),
        ("a.mha", lambda files: gzip.compress(files[".nii"]), "it is NIfTI"),
        ("a.mha", lambda files: files[".nrrd"], "it is NRRD"),
        ("a.nii.gz", lambda files: gzip.compress(gzip.compress(files[".nii"])), "compressed twice: unpack it once"),
        ("a.nii.gz", lambda files: bz2.compress(files[".nii"]), "compressed by bzip2"),
        ("a.nii.gz", lambda files: lzma.compress(files[".nii"]), "compressed by xz"),
        ("a.nii.gz", lambda files: zipped(files[".nii"]), "it is a zip"),
        ("a.nii.gz", lambda files: b"<!DOCTYPE html><html>404</html>", "it is a web page: download it again"),
        ("a.nii.gz", lambda files: b"version https://git-lfs.github.com/spec/v1\noid x", "a pointer of Git LFS"),
        ("a.nrrd", lambda files: b"# vtk DataFile Version 3.0\n", "it is VTK: save it as .nii.gz"),
        ("a.nii", lambda files: b"II*\0" + bytes(400), "it is a picture .TIFF.: give the scan"),
        ("a.nii", lambda files: bytes(128) + b"DICM" + bytes(400), "it is DICOM: give the folder"),
    ],
)
def test_what_it_is_and_what_to_do_is_said(tmp_path, smooth_image, grids, name, made, message):
    files = {}
    for ending in (".nii", ".nrrd", ".mha"):
        write_image(smooth_image(grids["lps"]), tmp_path / f"whole{ending}")
        files[ending] = (tmp_path / f"whole{ending}").read_bytes()
    (tmp_path / name).write_bytes(made(files))
    with pytest.raises(InputError, match=f"cannot be read as an image, by its content .*{message}"):
        read_image(tmp_path / name)


def test_the_libraries_say_nothing_beside_the_sentence(tmp_path, capfd):
    """GDCM and MetaIO would write lines of their own to the standard error."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "note.txt").write_text("x")
    (tmp_path / "scan.mha").write_bytes((348).to_bytes(4, "little") + bytes(600))
    for path, message in ((tmp_path / "study", "holds no DICOM series"), (tmp_path / "scan.mha", "it is NIfTI")):
        with pytest.raises(InputError, match=message):
            read_image(path)
    for name, content in (
        ("other", b"hello = 3\nNDims = 3\n"),
        ("small", b"NDims = 3\ndimsize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"),
        ("late", b"NDims = 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\nDimSize = 4 4 4\n"),
    ):
        (tmp_path / f"{name}.mha").write_bytes(content + bytes(128))
        with pytest.raises(
            InputError, match=rf"{name}\.mha cannot be read as an image.*: its header has no line DimSize"
        ):
            read_image(tmp_path / f"{name}.mha")
    written = capfd.readouterr()
    assert written.err + written.out == ""


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_alone_is_dicom(implicit):
    made, written = pydicom.Dataset(), io.BytesIO()
    made.SpecificCharacterSet = ""
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SOPClassUID = pydicom.uid.CTImageStorage
    made.save_as(written, implicit_vr=implicit, little_endian=True)
    assert looks_like_dicom(written.getvalue())
    assert not looks_like_dicom(written.getvalue()[:20])


def test_numbers_that_begin_as_a_data_set_are_not_taken_for_one():
    random = np.random.default_rng(0)
    heads = [
        b"\x08\0" * 512,
        b"\x08\0" + bytes(1022),
        b"\x08\0\x05\0" + b" " * 1020,
        b"\x08\0\x05\0CS\2\0AB" + bytes(1014),
        b"\x08\0\0\0UL\4\0" * 128,
        struct.pack("<512H", *range(8, 520)),
        b"\2\0" * 512,
        b"",
    ]
    for most in (2, 9, 14, 32, 256):
        for kind in (np.uint8, np.uint16, np.float32):
            for element in range(0, 25):
                numbers = random.integers(0, most, 1020).astype(kind).tobytes()[:1020]
                heads.append(bytes([8, 0, element, 0]) + numbers)
    assert not any(map(looks_like_dicom, heads))
