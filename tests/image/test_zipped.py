"""A zip of a DICOM study, read as its folder would be; and zips that are not what they seem."""

import shutil
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image import checks
from mics.image.io import read_image

HU = np.random.default_rng(0).integers(-1000, 1500, size=(7, 6, 5)).astype(np.int16)


def series(folder: Path, uid="1.2.3.4", hu=HU, modality="CT") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(hu.shape[2]):
        itk = sitk.GetImageFromArray(np.ascontiguousarray(hu[:, :, k].T[None]))
        for key, value in {
            "0008|0060": modality,
            "0020|000e": uid,
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": f"1\\2\\{3 + 2.5 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "-1024",
            "0028|1053": "1",
        }.items():
            itk.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(itk)
    return folder


def zipped(folder: Path, path: Path, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
        for name, content in others.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """Temporary files go where they are counted: none may be left."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield
    assert list(place.iterdir()) == []


def test_a_zip_is_read_as_its_folder(tmp_path):
    folder = series(tmp_path / "study" / "a" / "b")
    path = zipped(tmp_path / "study", tmp_path / "study.zip", **{"report.pdf": b"%PDF", "DICOMDIR": b"x" * 500})
    image = read_image(path)
    assert image == read_image(folder)
    assert np.array_equal(image.array, HU)
    np.testing.assert_allclose(image.grid.voxel_to_world([0, 0, 4]), [1, 2, 13])


def test_a_series_is_chosen_from_folders_within_folders_and_from_a_zip(tmp_path):
    series(tmp_path / "study" / "day 1" / "CT")
    series(tmp_path / "study" / "day 2" / "deep" / "CT", "1.2.3.5", HU[:, :, ::-1])
    path = zipped(tmp_path / "study", tmp_path / "study.ZIP")
    for source in (tmp_path / "study", path):
        assert np.array_equal(read_image(source, "1.2.3.5").array, HU[:, :, ::-1])
        with pytest.raises(InputError, match=rf"{source} holds 2 DICOM series.* Choose one by its UID"):
            read_image(source)
        with pytest.raises(InputError, match=rf"{source} holds no DICOM series 9\.9"):
            read_image(source, "9.9")


def test_a_series_that_is_spread_over_folders_is_one(tmp_path):
    folder = series(tmp_path / "study" / "1")
    (tmp_path / "study" / "2").mkdir()
    shutil.move(folder / "3.dcm", tmp_path / "study" / "2" / "3.dcm")
    assert np.array_equal(read_image(tmp_path / "study").array, HU)


def test_what_is_made_for_a_scan_is_no_choice_beside_it(tmp_path):
    series(tmp_path / "study" / "CT")
    series(tmp_path / "study" / "SEG", "1.2.3.6", modality="SEG")
    assert np.array_equal(read_image(tmp_path / "study").array, HU)
    series(tmp_path / "study" / "PT", "1.2.3.7", modality="PT")
    with pytest.raises(InputError, match="holds 2 DICOM series"):
        read_image(tmp_path / "study")


def test_warnings_name_the_zip(tmp_path):
    path = zipped(series(tmp_path / "mr", modality="MR"), tmp_path / "study.zip")
    with pytest.warns(UserWarning, match=f"^{path} is a series of modality MR, not CT"):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["../../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\..\\evil.dcm", "C:\\evil.dcm"]
)
def test_names_that_lead_out_of_it_are_refused(tmp_path, name):
    folder = series(tmp_path / "ct")
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "0.dcm", "ct/0.dcm")
        archive.writestr(zipfile.ZipInfo(name), (folder / "1.dcm").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="would lie outside of it"):
        read_image(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_it_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x" * 500)
    path = tmp_path / "study.zip"
    link = zipfile.ZipInfo("ct/0.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, str(secret))
    with pytest.raises(InputError, match="holds no DICOM series"):
        read_image(path)


def test_what_is_no_dicom_is_never_unpacked(tmp_path, monkeypatch):
    """16 MB of zeros where 4 MB of memory are left."""
    folder = series(tmp_path / "ct")
    path = zipped(folder, tmp_path / "study.zip", bomb=bytes(1 << 24))
    monkeypatch.setattr(checks, "available_host_bytes", lambda: 1 << 22)
    assert np.array_equal(read_image(path).array, HU)


def test_more_dicom_than_memory_holds_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = zipped(series(tmp_path / "ct"), tmp_path / "study.zip", big=bytes(128) + b"DICM" + bytes(1 << 24))
    monkeypatch.setattr(checks, "available_host_bytes", lambda: 1 << 22)
    with pytest.raises(InputError, match=rf"^{path} unpacks to 0\.0 GB"):
        read_image(path)


def test_a_zip_that_lies_about_its_sizes_is_damaged(tmp_path):
    """A list of contents that promises less than is packed: what follows is not unpacked."""
    path = zipped(series(tmp_path / "ct"), tmp_path / "study.zip", big=bytes(128) + b"DICM" + bytes(1 << 20))
    content = path.read_bytes()
    honest = struct.pack("<L", (1 << 20) + 132)
    assert content.count(honest) == 2
    path.write_bytes(content.replace(honest, struct.pack("<L", 4096)))
    with pytest.raises(InputError, match=rf"^{path} is damaged"):
        read_image(path)


@pytest.mark.parametrize("how", ["cut", "encrypted", "twice", "no zip"])
def test_zips_that_cannot_be_read_are_told_in_a_sentence(tmp_path, how):
    path = zipped(series(tmp_path / "ct"), tmp_path / "study.zip")
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "encrypted":
        marked = bytearray(content)
        for start in [n for n in range(len(content)) if content[n : n + 4] in (b"PK\x03\x04", b"PK\x01\x02")]:
            marked[start + (6 if content[start + 2] == 3 else 8)] |= 1
        path.write_bytes(marked)
    elif how == "twice":
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.write(tmp_path / "ct" / "0.dcm", "ct/0.dcm")
    else:
        path.write_bytes(b"no zip at all")
    message = {
        "cut": "is damaged",
        "encrypted": "is protected by a password",
        "twice": "twice",
        "no zip": "is damaged",
    }[how]
    with pytest.raises(InputError, match=message):
        read_image(path)


@pytest.mark.parametrize("kept", [0, 60])
def test_a_broken_slice_in_a_zip_is_named(tmp_path, kept):
    folder = series(tmp_path / "ct")
    last = folder / "4.dcm"
    last.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"study\.zip/ct/4\.dcm is damaged, empty or was cut short"):
        read_image(zipped(folder, tmp_path / "study.zip"))


@pytest.mark.parametrize("numbers", [(4,), range(5)])
def test_slices_without_preamble_in_a_zip_are_read(tmp_path, numbers):
    """As older software writes them; GDCM reads them from a folder."""
    folder = series(tmp_path / "ct")
    for k in numbers:
        one = pydicom.dcmread(folder / f"{k}.dcm")
        pydicom.dcmwrite(folder / f"{k}.dcm", pydicom.dataset.Dataset(one), implicit_vr=True, little_endian=True)
        assert (folder / f"{k}.dcm").read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read_image(folder).array, HU)
    assert np.array_equal(read_image(zipped(folder, tmp_path / "study.zip")).array, HU)
