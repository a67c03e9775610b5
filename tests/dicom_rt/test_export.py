"""`mics dicom`: two DICOM series registered, the results back as DICOM objects; and what it refuses."""

import gzip
import re
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from pydicom import Dataset
from typer.testing import CliRunner

from mics.cli.main import app
from mics.deformation.transform import Transform
from mics.dicom_rt.rtdose import write_dose
from mics.dicom_rt.rtstruct import read_rtstruct, write_rtstruct
from mics.dicom_rt.seg import read_seg
from mics.dicom_rt.series import read_series
from mics.dicom_rt.structures import Structure, StructureSet
from mics.image.io import Image, write_labels
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import save_model


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def body(helpers, shift=0.0):
    """HU of an ellipsoid of tissue with a denser ball off its middle, in air."""

    def hu(points):
        away = points - helpers.CENTRE - shift
        tissue = np.where(np.linalg.norm(away / [34, 40, 38], axis=-1) < 1, 40.0 + away[..., 0] / 2, -1000)
        return np.where(np.linalg.norm(away - [9, -6, 4], axis=-1) < 12, 150.0, tissue)

    return hu


@pytest.fixture(scope="module")
def study(tmp_path_factory, helpers):
    """A fixed and a moving series of two positions, structures and a dose of the moving one, and their registration."""
    folder = tmp_path_factory.mktemp("study")
    fixed = helpers.write_series(
        folder / "fixed" / "ct",
        *reversed(helpers.POSITIONS["oblique"]),
        hu=body(helpers),
        elements={"PatientID": "F-1"},
    )
    moving = helpers.write_series(
        folder / "moving" / "ct",
        *reversed(helpers.POSITIONS["head_first_prone"]),
        hu=body(helpers, np.array([4, -3, 2])),
    )
    series = read_series(moving)
    inside = helpers.inside(helpers.places(helpers.by_itk(moving)))
    structures = StructureSet(series.grid, (Structure("Leber", inside), Structure("Ziel", np.roll(inside, 2, 1))))
    write_rtstruct(structures, series, folder / "moving" / "rs.dcm")
    plan = Dataset()
    plan.DoseUnits, plan.DoseType, plan.DoseSummationType = "GY", "PHYSICAL", "FRACTION"
    dose = np.where(inside, 50, 3).astype(np.float32)
    write_dose(Image(dose, series.grid), plan, series, folder / "moving" / "rd.dcm")
    write_labels(Image(inside.astype(np.uint8), series.grid), folder / "labels.nii.gz")
    target = read_series(fixed)
    write_labels(Image(np.ones(target.grid.size, np.uint8), target.grid), folder / "fixed.nii.gz")
    (folder / "names.json").write_text('{"1": "liver of the model"}')
    torch.manual_seed(0)
    network = build(MICSConfig(channels=(4, 8)))
    save_model(network, {"spacing_mm": 10.0, "hu_range": None, "steps": 2}, folder / "tiny.safetensors")
    options = ("--affine", "none", "--model", folder / "tiny.safetensors", "--refine", "none")
    labels = ("--fixed-labels", folder / "fixed.nii.gz", "--moving-labels", folder / "labels.nii.gz")
    names = ("--label-names", folder / "names.json")
    result = run("register", fixed, moving, "-o", folder / "results", *options, *labels, *names)
    assert result.exit_code == 0, result.output
    return folder


def test_a_registration_becomes_a_study(study, helpers, tmp_path):
    moving = study / "moving"
    options = ("--moving", moving, "--structures", moving / "rs.dcm", "--dose", moving / "rd.dcm")
    result = run("dicom", study / "results", study / "fixed", "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "warped, not accumulated" in result.stderr
    assert "of another patient ID than the fixed one" in result.stderr
    names = {"CT", "RTSTRUCT.dcm", "SEG.dcm", "RTDOSE.dcm", "REG.dcm"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    volume = helpers.by_itk(study / "fixed" / "ct")
    field = sitk.ReadImage(str(study / "results" / "transform_moving_to_fixed.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    scan = helpers.by_itk(study / "moving" / "ct")
    expected = sitk.Resample(scan, volume, transform, sitk.sitkLinear, -1000.0)
    warped = helpers.by_itk(tmp_path / "out" / "CT")
    np.testing.assert_allclose(helpers.places(warped), helpers.places(volume), atol=1e-3)
    apart = np.abs(sitk.GetArrayFromImage(warped) - sitk.GetArrayFromImage(expected))
    assert np.percentile(apart, 99) <= 1
    mask = sitk.GetImageFromArray(helpers.inside(helpers.places(scan)).T.astype(np.uint8))
    mask.CopyInformation(scan)
    expected = sitk.GetArrayFromImage(sitk.Resample(mask, volume, transform, sitk.sitkNearestNeighbor)).T > 0
    for read in (read_rtstruct(tmp_path / "out" / "RTSTRUCT.dcm", read_series(study / "fixed")), None):
        structures = read or read_seg(tmp_path / "out" / "SEG.dcm", read_series(study / "fixed"))
        assert [one.name for one in structures.structures] == ["Leber", "Ziel"]
        assert np.count_nonzero(structures.structures[0].mask != expected) < 0.002 * expected.sum()
        for axis in range(3):
            assert np.count_nonzero(np.flip(structures.structures[0].mask, axis) != expected) > 0.2 * expected.sum()
    for path in (tmp_path / "out").rglob("*.dcm"):
        made = pydicom.dcmread(path)
        assert (made.PatientID, made.StudyInstanceUID) == (
            "F-1",
            read_series(study / "fixed").headers[0].StudyInstanceUID,
        )
        assert made.SeriesDescription.startswith("Research: ")
        assert not any(element.tag.is_private for element in made.iterall())
        assert helpers.PLANTED["PatientID"] not in str(made)  # the moving patient's


def test_labels_that_were_registered_along_are_taken_with_their_names(study, tmp_path):
    result = run("dicom", study / "results", study / "fixed", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"CT", "RTSTRUCT.dcm", "SEG.dcm"}
    (structure,) = read_seg(tmp_path / "out" / "SEG.dcm", read_series(study / "fixed")).structures
    assert structure.name == "liver of the model"
    labels = sitk.ReadImage(str(study / "results" / "moving_labels_warped.nii.gz"))
    volume = sitk.GetArrayFromImage(sitk.Resample(labels, _by_itk(study), sitk.Transform(), sitk.sitkNearestNeighbor))
    np.testing.assert_array_equal(structure.mask, volume.T > 0)


def _by_itk(study):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(study / "fixed" / "ct"))
    return sitk.ReadImage(names)


def test_results_of_a_nifti_file_whose_axes_run_otherwise(study, helpers, tmp_path):
    """As dcm2niix turns rows around: the same voxels in another order."""
    flipped = tmp_path / "results"
    shutil.copytree(study / "results", flipped)
    transform = Transform.load(flipped / "transform_moving_to_fixed.nii.gz")
    grid = transform.grid
    axes = np.reshape(grid.direction, (3, 3)) * [1, -1, 1]
    last = grid.voxel_to_world([0, grid.size[1] - 1, 0])
    turned = type(grid)(grid.size, grid.spacing, tuple(last), tuple(axes.ravel()))
    for path in flipped.glob("transform*"):
        path.unlink()
    Transform(np.ascontiguousarray(transform.displacement_mm[:, ::-1]), turned).save(
        flipped / "transform_moving_to_fixed.nii.gz"
    )
    warped = sitk.ReadImage(str(flipped / "moving_warped.nii.gz"))
    sitk.WriteImage(warped[:, ::-1, :], str(flipped / "moving_warped.nii.gz"))
    for results, output in ((study / "results", "one"), (flipped, "other")):
        assert run("dicom", results, study / "fixed", "-o", tmp_path / output).exit_code == 0
    one, other = (sitk.GetArrayFromImage(helpers.by_itk(tmp_path / name / "CT")) for name in ("one", "other"))
    np.testing.assert_array_equal(one, other)


def test_structures_are_warped_and_converted_with_their_names(study, tmp_path):
    source, transform = study / "moving" / "rs.dcm", study / "results" / "transform_moving_to_fixed.nii.gz"
    for command in (("warp", source, transform), ("convert", source)):
        output = tmp_path / f"{command[0]}.seg.nrrd"
        result = run(*command, "-o", output)
        assert result.exit_code == 0, result.output
        assert "where Leber overlap later structures" in result.stderr
        labels = sitk.ReadImage(str(output))
        assert [labels.GetMetaData(f"Segment{n}_Name") for n in (0, 1)] == ["Leber", "Ziel"]
        assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 1, 2}
    reference = sitk.ReadImage(str(study / "results" / "moving_warped.nii.gz"))
    assert sitk.ReadImage(str(tmp_path / "warp.seg.nrrd")).GetSize() == reference.GetSize()
    result = run("convert", source, "-o", tmp_path / "labels.nii.gz")
    assert "has no room for names (1 Leber, 2 Ziel)" in result.stderr


def test_a_dose_is_warped_as_itk_does(study, tmp_path):
    transform = study / "results" / "transform_moving_to_fixed.nii.gz"
    result = run("warp", study / "moving" / "rd.dcm", transform, "-o", tmp_path / "dose.nii.gz")
    assert result.exit_code == 0, result.output
    assert "warped, not accumulated" in result.stderr
    stored = pydicom.dcmread(study / "moving" / "rd.dcm")
    volume = sitk.Cast(sitk.ReadImage(str(study / "moving" / "rd.dcm")), sitk.sitkFloat64)
    # Whether ITK has scaled the values by itself depends on its version: the largest is 50 Gy.
    volume *= 50 / float(sitk.GetArrayFromImage(volume).max())
    assert float(stored.DoseGridScaling) * stored.pixel_array.max() == pytest.approx(50, abs=1e-3)
    field = sitk.ReadImage(str(transform), sitk.sitkVectorFloat64)
    moved = sitk.Resample(
        volume,
        sitk.ReadImage(str(tmp_path / "dose.nii.gz")),
        sitk.DisplacementFieldTransform(field),
        sitk.sitkLinear,
        0.0,
    )
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "dose.nii.gz")))
    assert np.percentile(np.abs(ours - sitk.GetArrayFromImage(moved)), 99) < 0.01
    assert ours.min() == 0
    assert ours.max() > 49


def test_nothing_of_a_patient_is_in_files_that_are_not_dicom(study, helpers, tmp_path):
    source, transform = study / "moving" / "rs.dcm", study / "results" / "transform_moving_to_fixed.nii.gz"
    for name in ("labels.seg.nrrd", "labels.nii.gz"):
        run("convert", source, "-o", tmp_path / name)
    for name in ("t.h5", "t.txt", "t.nii.gz", "t.x5", "t.tfm"):
        assert run("convert", transform, "-o", tmp_path / name).exit_code == 0
    private = [*helpers.PLANTED.values(), "Planted", "PLANTED", read_series(study / "moving").uid]
    for path in tmp_path.iterdir():
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for text in private:
            assert text.encode() not in content, path.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("moving", "fixed"), "is not the folder of a finished registration, it lacks summary.json"),
        (("results", "moving"), "was not made with the series .* as the fixed scan"),
        (("results", "results"), "does not hold a single CT series: there is none"),
        (("results", "."), "does not hold a single CT series: there is .* with 13 files; .* with 13 files"),
        (("results", "fixed", "--fixed-series", "1.2.3"), r"does not hold the CT series 1\.2\.3"),
        (("results", "fixed", "--moving", "fixed"), "was not made with the series .* as the moving scan"),
        (("results", "fixed", "--moving-series", "1.2.3"), "name that folder too"),
        (("results", "fixed", "--structures", "moving/rd.dcm"), "of the modality RTDOSE: give an RT structure set"),
        (
            ("results", "fixed", "--structures", "labels.nii.gz"),
            "is no DICOM file, or damaged: give an RT structure set",
        ),
        (("results", "fixed", "--dose", "moving/rs.dcm"), "of the modality RTSTRUCT: give one of the modality RTDOSE"),
        (("results", "fixed", "--dose", "none.dcm"), "does not exist"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_nothing_written(study, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(study)
    refusal = refused("dicom", *arguments, "-o", tmp_path / "out")
    assert re.search(message, refusal), refusal
    assert not (tmp_path / "out").exists()


def test_a_dose_of_another_frame_of_reference_is_refused(study, tmp_path):
    dose = pydicom.dcmread(study / "moving" / "rd.dcm")
    dose.FrameOfReferenceUID = "1.2.3"
    dose.save_as(tmp_path / "rd.dcm")
    options = ("--moving", study / "moving", "--dose", tmp_path / "rd.dcm")
    message = refused("dicom", study / "results", study / "fixed", "-o", tmp_path / "out", *options)
    assert "is not in the frame of reference of the moving series" in message
