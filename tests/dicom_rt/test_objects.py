"""What is written for a fixed series, as others read it: SimpleITK, pydicom and validators, each position of the patient."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from scipy.ndimage import gaussian_filter

from mics.deformation.transform import Transform
from mics.dicom_rt.ct import write_ct
from mics.dicom_rt.reg import write_reg
from mics.dicom_rt.rtdose import Dose, read_dose, write_dose
from mics.dicom_rt.rtstruct import read_rtstruct, write_rtstruct
from mics.dicom_rt.seg import read_seg, write_seg
from mics.dicom_rt.series import read_series
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image


def overlapping(helpers, series, folder) -> StructureSet:
    mask = helpers.inside(helpers.places(helpers.by_itk(folder)))
    shifted = np.roll(mask, 3, axis=0)
    assert (mask & shifted).any()
    return StructureSet(series.grid, (Structure("Leber größte", mask), Structure("target", shifted)))


def plan_dose() -> Dataset:
    """What a dose of a plan says of itself."""
    header, plan = Dataset(), Dataset()
    header.DoseUnits, header.DoseType, header.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.5", "2.25.7"
    header.ReferencedRTPlanSequence = [plan]
    return header


def smooth(grid: Grid, seed: int) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=grid.size), 2).astype(np.float32)


def written(helpers, folder: Path, output: Path) -> list[Path]:
    """One of each object for a series."""
    output.mkdir()
    series = read_series(folder)
    structures = overlapping(helpers, series, folder)
    write_rtstruct(structures, series, output / "rtstruct.dcm")
    write_seg(structures, series, output / "seg.dcm")
    write_ct(series.scan, series, output / "ct")
    write_dose(Image(np.abs(smooth(series.grid, 1)), series.grid), plan_dose(), series, output / "rtdose.dcm")
    field = np.stack([smooth(series.grid, n) for n in range(3)], axis=-1)
    write_reg(Transform(field, series.grid), series, series, output / "reg.dcm")
    return list(output.rglob("*.dcm"))


def test_segments_lie_where_the_voxels_are(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    structures = overlapping(helpers, series, series_folder)
    write_seg(structures, series, tmp_path / "seg.dcm")
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in made.SegmentSequence] == ["Leber größte", "target"]
    volume = helpers.by_itk(series_folder)
    found = np.zeros((2, *volume.GetSize()), dtype=bool)
    orientation = made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    direction = np.reshape(volume.GetDirection(), (3, 3))
    np.testing.assert_allclose(orientation, [*direction[:, 0], *direction[:, 1]], atol=1e-6)
    for pixels, frame in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        corner = [float(x) for x in frame.PlanePositionSequence[0].ImagePositionPatient]
        i, j, k = volume.TransformPhysicalPointToIndex(corner)
        assert (i, j) == (0, 0)
        found[number - 1, :, :, k] = pixels.T > 0
    expected = [one.mask for one in structures.structures]
    np.testing.assert_array_equal(found, expected)
    for axis in range(1, 4):
        assert not np.array_equal(np.flip(found, axis), expected)


def test_segments_are_read_on_the_series_and_on_their_own_planes(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    structures = overlapping(helpers, series, series_folder)
    write_seg(structures, series, tmp_path / "seg.dcm")
    on_series, alone = read_seg(tmp_path / "seg.dcm", series), read_seg(tmp_path / "seg.dcm")
    assert on_series.grid == series.grid
    for given, one, other in zip(structures.structures, on_series.structures, alone.structures, strict=True):
        assert given.name == one.name == other.name
        np.testing.assert_array_equal(one.mask, given.mask)
        points = [read.grid.points()[read_mask] for read, read_mask in ((on_series, one.mask), (alone, other.mask))]
        # The same voxels, in whatever order the planes are.
        ordered = [np.sort(np.round(each, 1).view("f4,f4,f4").ravel()) for each in points]
        np.testing.assert_allclose(ordered[0].view("f4"), ordered[1].view("f4"), atol=0.11)


def test_segments_without_a_voxel_are_told_or_refused(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])
    series = read_series(folder)
    full = overlapping(helpers, series, folder).structures[0]
    empty = Structure("nothing", np.zeros_like(full.mask))
    write_seg(StructureSet(series.grid, (full, empty)), series, tmp_path / "seg.dcm")
    with pytest.warns(UserWarning, match=r"seg\.dcm: nothing left out: no voxel of the series is within"):
        (found,) = read_seg(tmp_path / "seg.dcm", series).structures
    np.testing.assert_array_equal(found.mask, full.mask)
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    for frame in made.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = [float(x) + 500 for x in place.ImagePositionPatient]
    made.save_as(tmp_path / "aside.dcm")
    with pytest.raises(InputError, match=r"aside\.dcm holds no segment with a voxel of the series"):
        read_seg(tmp_path / "aside.dcm", series)
    made.FrameOfReferenceUID = "1.2.3"
    made.save_as(tmp_path / "frame.dcm")
    with pytest.raises(InputError, match="made in another frame of reference than that of the series"):
        read_seg(tmp_path / "frame.dcm", series)


def test_a_warped_scan_is_a_series_of_the_fixed_study(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    values = smooth(series.grid, 5) * 900
    write_ct(Image(values, series.grid), series, tmp_path / "warped")
    original, read = helpers.by_itk(series_folder), helpers.by_itk(tmp_path / "warped")
    np.testing.assert_allclose(helpers.places(read), helpers.places(original), atol=1e-3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, np.rint(values))
    source = pydicom.dcmread(series_folder / "000")
    slices = [pydicom.dcmread(path) for path in (tmp_path / "warped").iterdir()]
    old = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in series_folder.iterdir()}
    assert len({one.SOPInstanceUID for one in slices} - old) == len(slices) == 13
    assert len({one.SeriesInstanceUID for one in slices} | {source.SeriesInstanceUID}) == 2
    for one in slices:
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientPosition"):
            assert one[keyword].value == source[keyword].value
        assert one.SeriesDescription.startswith("Research: ")
        assert one.ImageType[0] == "DERIVED"
        assert "For research" in one.DerivationDescription
        assert not any(element.tag.is_private for element in one)
        assert one.Manufacturer == "MICS"


def test_values_beyond_16_bits_are_cut_off(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "fixed", helpers.POSITIONS["oblique"][1])
    series = read_series(folder)
    values = np.full(series.grid.size, 40000, dtype=np.float32)
    values[0] = -50000
    write_ct(Image(values, series.grid), series, tmp_path / "ct")
    assert set(np.unique(sitk.GetArrayFromImage(helpers.by_itk(tmp_path / "ct")))) == {-32768, 32767}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_a_dose_is_read_where_its_offsets_say(tmp_path, absolute, descending):
    random = np.random.default_rng(0)
    stored = random.integers(1, 2**31, (5, 7, 9), dtype=np.uint32)  # (planes, rows, columns)
    made = plan_dose()
    made.Modality = "RTDOSE"
    made.ImagePositionPatient, made.ImageOrientationPatient = [-20, 30, 55.5], [1, 0, 0, 0, 1, 0]
    offsets = np.arange(5) * (-3.0 if descending else 3.0)
    made.GridFrameOffsetVector = (offsets + 55.5 if absolute else offsets).tolist()
    made.PixelSpacing, made.DoseGridScaling = [4, 2.5], "1.5e-8"  # rows are 4 mm apart
    made.NumberOfFrames, made.Rows, made.Columns = 5, 7, 9
    made.BitsAllocated = made.BitsStored = 32
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 31, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.add_new("PixelData", "OW", stored.astype("<u4").tobytes())
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.2", "2.25.8"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.save_as(tmp_path / "dose.dcm", enforce_file_format=True)
    dose = read_dose(tmp_path / "dose.dcm").image
    for i, j, k in ((0, 0, 0), (8, 6, 4), (3, 5, 1)):
        place = [-20 + 2.5 * i, 30 + 4 * j, 55.5 + offsets[k]]
        np.testing.assert_allclose(dose.grid.voxel_to_world([i, j, k]), place, atol=1e-6)
        assert dose.array[i, j, k] == pytest.approx(stored[k, j, i] * 1.5e-8, rel=1e-6)


def test_a_written_dose_is_read_by_itk_at_its_place(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    grid = Grid((9, 8, 7), (5.0, 6.0, 8.0), series.grid.origin, series.grid.direction)
    dose = Image(np.abs(smooth(grid, 1)) * 70, grid)
    write_dose(dose, plan_dose(), series, tmp_path / "dose.dcm")
    made = pydicom.dcmread(tmp_path / "dose.dcm")
    assert (made.DoseUnits, made.DoseSummationType, made.FrameOfReferenceUID) == (
        "GY",
        "PLAN",
        series.frame_of_reference,
    )
    assert "not accumulated" in made.DoseComment
    volume = sitk.ReadImage(str(tmp_path / "dose.dcm"))
    assert volume.GetSize() == grid.size
    np.testing.assert_allclose(volume.GetSpacing(), grid.spacing, atol=1e-3)
    np.testing.assert_allclose(volume.GetOrigin(), grid.origin, atol=1e-3)
    np.testing.assert_allclose(volume.GetDirection(), grid.direction, atol=1e-6)
    assert np.abs(made.pixel_array.T * float(made.DoseGridScaling) - dose.array).max() < dose.array.max() / 60000
    read = read_dose(tmp_path / "dose.dcm").image
    assert read.grid.is_close(grid)
    np.testing.assert_allclose(read.array, dose.array, atol=dose.array.max() / 60000)


def test_a_warped_dose_is_what_itk_makes_of_it_and_0_outside(helpers, tmp_path):
    series = read_series(helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1]))
    centre = np.array(series.grid.centre)
    own = Grid((20, 18, 9), (4.0, 4.0, 5.0), tuple(centre - [38, 34, 20]))
    dose = Image(np.abs(smooth(own, 2)) * 70 + 1, own)
    field = np.stack([smooth(series.grid, n) * 30 + 6 for n in range(3)], axis=-1)
    transform = Transform(field, series.grid)
    warped = Dose(dose, Dataset()).warped(transform)
    assert warped.grid.spacing == own.spacing
    assert warped.array.min() == 0
    points = warped.grid.voxel_to_world(np.moveaxis(np.indices(warped.grid.size), 0, -1).reshape(-1, 3))
    sources = transform.transform_points(points)
    volume = sitk.GetImageFromArray(dose.array.T)
    volume.SetSpacing(own.spacing)
    volume.SetOrigin(own.origin)
    found = warped.array.ravel()
    for n in range(0, len(points), 7):
        index = own.world_to_voxel(sources[n])
        if (index > 0.05).all() and (index < np.array(own.size) - 1.05).all():
            assert found[n] == pytest.approx(
                volume.EvaluateAtPhysicalPoint(sources[n].tolist(), sitk.sitkLinear), abs=0.02
            )
        elif (index < -0.6).any() or (index > np.array(own.size) - 0.4).any():
            assert found[n] == 0


def test_of_the_plan_of_a_dose_the_reference_alone_is_kept(helpers, tmp_path):
    series = read_series(helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1]))
    header = plan_dose()
    plan = header.ReferencedRTPlanSequence[0]
    plan.PatientID, plan.RTPlanLabel = "PLANTED 1", "PLANTED 2"
    plan.private_block(0x300B, "PLANTED 3", create=True).add_new(1, "LO", "PLANTED 4")
    write_dose(Image(np.abs(smooth(series.grid, 1)), series.grid), header, series, tmp_path / "rtdose.dcm")
    made = pydicom.dcmread(tmp_path / "rtdose.dcm")
    assert [str(element.value) for element in made.ReferencedRTPlanSequence[0]] == [
        "1.2.840.10008.5.1.4.1.1.481.5",
        "2.25.7",
    ]
    assert b"PLANTED " not in (tmp_path / "rtdose.dcm").read_bytes()


def test_the_deformation_leads_points_where_the_transform_does(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    field = np.stack([smooth(series.grid, n) * 30 + n for n in range(3)], axis=-1)
    transform = Transform(field, series.grid)
    moving = read_series(helpers.write_series(tmp_path / "moving", helpers.POSITIONS["oblique"][1]))
    write_reg(transform, series, moving, tmp_path / "reg.dcm")
    made = pydicom.dcmread(tmp_path / "reg.dcm")
    (item,) = made.DeformableRegistrationSequence
    assert made.FrameOfReferenceUID == series.frame_of_reference
    assert item.SourceFrameOfReferenceUID == moving.frame_of_reference
    (grid,) = item.DeformableRegistrationGridSequence
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*list(grid.GridDimensions)[::-1], 3)
    itk = sitk.GetImageFromArray(vectors.astype(float), isVector=True)
    row, column = np.reshape(grid.ImageOrientationPatient, (2, 3)).astype(float)
    itk.SetDirection(np.column_stack([row, column, np.cross(row, column)]).ravel())
    itk.SetOrigin([float(x) for x in grid.ImagePositionPatient])
    itk.SetSpacing(list(grid.GridResolution))
    read = sitk.DisplacementFieldTransform(itk)
    points = series.grid.voxel_to_world(np.random.default_rng(0).uniform(0.2, 11.8, (30, 3)))
    moved = [read.TransformPoint(point) for point in points.tolist()]
    np.testing.assert_allclose(moved, transform.transform_points(points), atol=1e-3)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs the Debian package dicom3tools")
def test_dciodvfy_finds_no_error(helpers, series_folder, tmp_path):
    for path in written(helpers, series_folder, tmp_path / "out"):
        # It says in Latin 1 what it finds.
        found = subprocess.run(["dciodvfy", path], capture_output=True, encoding="latin-1").stderr
        assert [line for line in found.splitlines() if line.startswith("Error")] == [], path.name
        assert "Patient" not in found


@pytest.mark.skipif(shutil.which("dcm2json") is None, reason="needs the Debian package dcmtk")
def test_dcmtk_reads_everything(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", *reversed(helpers.POSITIONS["decubitus_right"]))
    for path in written(helpers, folder, tmp_path / "out"):
        read = subprocess.run(["dcm2json", path, "/dev/null"], capture_output=True)
        assert (read.returncode, read.stderr) == (0, b""), path.name


def test_names_in_other_character_sets_stay(helpers, tmp_path):
    elements = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"}
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1], elements=elements)
    for path in written(helpers, folder, tmp_path / "out"):
        assert str(pydicom.dcmread(path).PatientName) == "Müller^Jörg", path.name


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs the Debian package dicom3tools")
@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_names_that_dicom_has_no_room_for(helpers, tmp_path, kind):
    """A backslash parts values and control characters are none of a name's, so both are replaced."""
    series = read_series(helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1]))
    mask = helpers.inside(series.grid.points())
    names = ["liver\\left", "two\nlines\t", "\0", "long " * 20]
    structures = StructureSet(series.grid, tuple(Structure(name, mask) for name in names))
    (write_rtstruct if kind == "rtstruct" else write_seg)(structures, series, tmp_path / "made.dcm")
    found = subprocess.run(["dciodvfy", tmp_path / "made.dcm"], capture_output=True, encoding="latin-1").stderr
    assert [line for line in found.splitlines() if line.startswith("Error")] == []
    made = pydicom.dcmread(tmp_path / "made.dcm")
    read = [one.ROIName for one in made.StructureSetROISequence] if kind == "rtstruct" else None
    read = read or [one.SegmentLabel for one in made.SegmentSequence]
    assert read == ["liver/left", "two lines", "no name", ("long " * 20)[:64].strip()]


def test_a_name_with_backslashes_is_read_as_one(helpers, tmp_path):
    series = read_series(helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1]))
    write_rtstruct(
        StructureSet(series.grid, (Structure("liver", helpers.inside(series.grid.points())),)),
        series,
        tmp_path / "rs.dcm",
    )
    made = pydicom.dcmread(tmp_path / "rs.dcm")
    made.StructureSetROISequence[0].ROIName = "liver\\left"
    made.save_as(tmp_path / "rs.dcm")
    assert [one.name for one in read_rtstruct(tmp_path / "rs.dcm", series).structures] == ["liver\\left"]


def test_pydicom_finds_every_value_valid(helpers, tmp_path, monkeypatch):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])
    paths = written(helpers, folder, tmp_path / "out")
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for path in paths:
        made = pydicom.dcmread(path)
        assert len(list(made.iterall())) > 30
        assert not any(element.tag.is_private for element in made.iterall())


def _remove(keyword):
    return lambda made: delattr(made, keyword)


def _cut(made):
    made.PixelData = made.PixelData[:50]


def _uneven(made):
    made.GridFrameOffsetVector[2] += 1


def _difference(made):
    made.DoseType = "ERROR"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rtdose", _remove("DoseGridScaling"), "is damaged"),
        ("rtdose", _remove("GridFrameOffsetVector"), "is damaged"),
        ("rtdose", _cut, "is damaged"),
        ("rtdose", _uneven, "unevenly spaced planes of dose"),
        ("rtdose", _difference, "holds differences of doses"),
        ("seg", _cut, "is damaged"),
        ("seg", _remove("SegmentSequence"), "is damaged"),
        ("seg", _remove("SharedFunctionalGroupsSequence"), "is damaged"),
    ],
)
def test_damaged_objects_are_told_in_a_sentence(helpers, tmp_path, name, change, message):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])
    written(helpers, folder, tmp_path / "out")
    path = tmp_path / "out" / f"{name}.dcm"
    made = pydicom.dcmread(path)
    change(made)
    made.save_as(path)
    with pytest.raises(InputError, match=message):
        (read_dose if name == "rtdose" else read_seg)(path)
