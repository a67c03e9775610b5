"""DICOM files of elements alone, without the preamble that tells what they are, beside others: read as the whole ones are."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import Dataset

from mics.dicom_rt.extra import is_dose, is_structures, structures_in
from mics.dicom_rt.rtdose import read_dose, write_dose
from mics.dicom_rt.rtstruct import write_rtstruct
from mics.dicom_rt.seg import write_seg
from mics.dicom_rt.series import read_series
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError
from mics.image.io import Image, read_image


def strip(path, form):
    """Take the preamble away, or the file's own elements too, and the elements' types."""
    content = path.read_bytes()
    if form == "implicit":
        made = pydicom.dcmread(path)
        made.preamble = None
        del made.file_meta
        made.save_as(path, implicit_vr=True, little_endian=True)
    else:
        path.write_bytes(content[132 if form == "preamble" else 144 + int.from_bytes(content[140:144], "little") :])


@pytest.fixture(scope="module")
def study(tmp_path_factory, helpers):
    """A series with structures and a dose of it, and the structure's mask."""
    folder = tmp_path_factory.mktemp("whole")
    series = read_series(helpers.write_series(folder / "ct", helpers.POSITIONS["oblique"][1]))
    mask = helpers.inside(helpers.places(helpers.by_itk(folder / "ct")))
    structures = StructureSet(series.grid, (Structure("Leber", mask),))
    (folder / "rt").mkdir()
    write_rtstruct(structures, series, folder / "rt" / "rs.dcm")
    write_seg(structures, series, folder / "rt" / "seg.dcm")
    plan = Dataset()
    plan.DoseUnits, plan.DoseType, plan.DoseSummationType = "GY", "PHYSICAL", "FRACTION"
    write_dose(Image(np.where(mask, 50, 3).astype(np.float32), series.grid), plan, series, folder / "rt" / "rd.dcm")
    return folder, mask


@pytest.mark.parametrize("form", ["preamble", "explicit", "implicit"])
@pytest.mark.parametrize("stripped", [("rt",), ("ct",), ("rt", "ct")])
def test_objects_and_series_without_preamble_are_read(study, tmp_path, helpers, form, stripped):
    whole, mask = study
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for part in stripped:
        for file in (tmp_path / part).iterdir():
            strip(file, form)
    ct, rt = tmp_path / "ct", tmp_path / "rt"
    expected = sitk.GetArrayFromImage(helpers.by_itk(whole / "ct")).T
    assert np.array_equal(read_series(tmp_path).scan.array, expected)
    for structures in (structures_in(rt / "rs.dcm"), structures_in(rt / "seg.dcm", ct)):
        assert [one.name for one in structures.structures] == ["Leber"]
        assert np.array_equal(structures.structures[0].mask, mask)
    assert is_structures(rt / "rs.dcm")
    assert is_structures(rt / "seg.dcm")
    assert is_dose(rt / "rd.dcm")
    np.testing.assert_allclose(read_dose(rt / "rd.dcm").image.array, np.where(mask, 50, 3), rtol=1e-4)
    write_seg(structures, read_series(ct), tmp_path / "again.dcm")
    assert np.array_equal(structures_in(tmp_path / "again.dcm", ct).structures[0].mask, mask)


@pytest.mark.parametrize("form", ["explicit", "implicit"])
@pytest.mark.parametrize("kept", [120, 300, 700, 1500])
def test_a_last_slice_without_preamble_that_broke_off_is_named(study, tmp_path, form, kept):
    """A slice is missing at the end of the stack, where no gap tells of it."""
    shutil.copytree(study[0] / "ct", tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        strip(file, form)
    last = max((tmp_path / "ct").iterdir(), key=lambda file: pydicom.dcmread(file, force=True).InstanceNumber)
    last.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"{last} is damaged, empty or was cut short"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("at", [8, 40, 150, 200])
def test_an_object_that_broke_off_is_told_to_be_damaged(study, tmp_path, at):
    shutil.copy(study[0] / "rt" / "rd.dcm", tmp_path / "rd.dcm")
    strip(tmp_path / "rd.dcm", "implicit")
    (tmp_path / "rd.dcm").write_bytes((tmp_path / "rd.dcm").read_bytes()[:at])
    with pytest.raises(InputError, match=r"rd.dcm is (no DICOM file, or damaged|damaged|a DICOM file of)"):
        read_dose(tmp_path / "rd.dcm")


def test_an_element_of_no_number_is_told(study, tmp_path):
    dose = pydicom.dcmread(study[0] / "rt" / "rd.dcm")
    dose["NumberOfFrames"] = pydicom.DataElement(0x00280008, "IS", ["13", "13"])
    dose.save_as(tmp_path / "rd.dcm")
    with pytest.raises(InputError, match=r"rd.dcm is damaged or stored in a way that is not read"):
        read_dose(tmp_path / "rd.dcm")


def test_an_unknown_type_in_a_header_is_told(study, tmp_path):
    content = (study[0] / "rt" / "rd.dcm").read_bytes()
    (tmp_path / "rd.dcm").write_bytes(content.replace(b"\x08\0\x60\0CS", b"\x08\0\x60\0RS"))
    with pytest.raises(InputError, match=r"rd.dcm is no DICOM file, or damaged: give one of the modality RTDOSE"):
        read_dose(tmp_path / "rd.dcm")
