"""RTSTRUCT and SEG where a label map is taken: drawn by formula, compared with where SimpleITK has the voxels."""

import json
import zipfile

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from mics.cli.main import app
from mics.data.pairs import read_pairs
from mics.dicom_rt.rtstruct import write_rtstruct
from mics.dicom_rt.seg import write_seg
from mics.dicom_rt.series import read_series
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError
from mics.evaluation.structure_labels import structure_labels, with_structures
from mics.image.grid import Grid
from mics.registration.inputs import load_pair, meaning_of_labels


@pytest.fixture(scope="module")
def patients(tmp_path_factory, helpers):
    """Two patients with the same two organs, drawn in the opposite order: as RTSTRUCT of one, as SEG of the other."""
    folder = tmp_path_factory.mktemp("patients")
    for name, position, order in (("one", "head_first_prone", (0, 1)), ("two", "oblique", (1, 0))):

        def hu(points):
            away = np.linalg.norm((points - helpers.CENTRE) / [34, 40, 22], axis=-1)
            return np.where(away < 0.7, 50.0, np.where(away < 1, -100.0, -1000.0)) + points[..., 0] % 7

        code, orientation = helpers.POSITIONS[position]
        series = read_series(helpers.write_series(folder / name / "ct", orientation, code, hu=hu))
        points = helpers.places(helpers.by_itk(folder / name / "ct"))
        organs = (
            Structure("Liver", helpers.inside(points)),
            Structure("spleen", np.linalg.norm(points - helpers.CENTRE - [20, 20, 5], axis=-1) < 9),
        )
        structures = StructureSet(series.grid, tuple(organs[n] for n in order))
        write = write_rtstruct if name == "one" else write_seg
        write(structures, series, folder / name / "structures.dcm")
    return folder


def expected(helpers, folder) -> tuple[np.ndarray, np.ndarray]:
    points = helpers.places(helpers.by_itk(folder))
    return helpers.inside(points), np.linalg.norm(points - helpers.CENTRE - [20, 20, 5], axis=-1) < 9


def as_zip(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"ct/{file.name}")
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_structures_of_both_scans_have_one_number_for_one_name(patients, helpers, tmp_path, zipped):
    scans = [patients / name / "ct" for name in ("one", "two")]
    if zipped:
        scans = [as_zip(scan, tmp_path / f"{number}.zip") for number, scan in enumerate(scans)]
    drawn = [patients / name / "structures.dcm" for name in ("one", "two")]
    pair, _ = load_pair(fixed=scans[0], moving=scans[1], fixed_labels=drawn[0], moving_labels=drawn[1])
    names, disagreements = meaning_of_labels(None, pair)
    assert names == {1: "Liver", 2: "spleen"}
    assert disagreements == []
    for scan, name in ((pair.fixed, "one"), (pair.moving, "two")):
        liver, spleen = expected(helpers, patients / name / "ct")
        labels = scan.labels.array
        assert np.count_nonzero((labels == 2) != spleen) < 0.03 * spleen.sum()  # what they share is the later one's
        assert np.count_nonzero((labels == 1) != (liver & ~spleen)) < 0.03 * liver.sum()


def test_they_are_numbered_as_the_other_scans_label_map_says(patients, helpers, tmp_path):
    scan = helpers.by_itk(patients / "two" / "ct")
    labels = sitk.GetImageFromArray((sitk.GetArrayFromImage(scan) > 0).astype(np.uint8) * 6)
    labels.CopyInformation(scan)
    for key, value in {"Segment0_Name": "LIVER", "Segment0_LabelValue": "6", "Segment0_ID": "a"}.items():
        labels.SetMetaData(key, value)
    sitk.WriteImage(labels, str(tmp_path / "x.nrrd"))
    paths = {"fixed": patients / "one" / "ct", "moving": patients / "two" / "ct"}
    drawn = {"fixed_labels": patients / "one" / "structures.dcm", "moving_labels": tmp_path / "x.nrrd"}
    pair, _ = load_pair(**paths, **drawn)
    assert np.unique(pair.fixed.labels.array).tolist() == [0, 1, 6]
    liver, spleen = expected(helpers, patients / "one" / "ct")
    assert np.count_nonzero((pair.fixed.labels.array == 6) != (liver & ~spleen)) < 0.03 * liver.sum()
    given = {3: "liver", 9: "Spleen"}
    pair, _ = load_pair(**paths, **drawn, label_names=given)
    assert np.unique(pair.fixed.labels.array).tolist() == [0, 3, 9]
    assert meaning_of_labels(given, pair)[0] == {**given, 6: "LIVER"}


def test_structures_of_one_name_are_told(patients, helpers, tmp_path):
    series = read_series(patients / "one" / "ct")
    organs = expected(helpers, patients / "one" / "ct")
    structures = tuple(Structure(name, mask) for name, mask in zip(("Lung_left", "lung LEFT"), organs, strict=True))
    write_seg(StructureSet(series.grid, structures), series, tmp_path / "seg.dcm")
    with pytest.warns(UserWarning, match=r"seg\.dcm holds several structures called lung left, which count as one"):
        labels, names = structure_labels(tmp_path / "seg.dcm", {})
    assert set(np.unique(labels.array)) == {0, 1}
    assert set(names) == {1}


def test_structures_of_another_scan_are_refused(patients):
    one, two = patients / "one", patients / "two"
    for drawn in (one / "structures.dcm", two / "structures.dcm"):
        other = two if drawn.parent == one else one
        with pytest.raises(InputError, match=r"give the structures of|refers to|was drawn on|made on"):
            load_pair(fixed=other / "ct", moving=drawn.parent / "ct", fixed_labels=drawn)


def test_a_nifti_scan_takes_the_structures_of_its_series(patients, helpers, tmp_path):
    """As dcm2niix writes it, rows the other way round: the series is found beside the structures."""
    scan = helpers.by_itk(patients / "one" / "ct")
    sitk.WriteImage(sitk.Flip(scan, [False, True, False]), str(tmp_path / "scan.nii.gz"))
    pair, _ = load_pair(
        fixed=tmp_path / "scan.nii.gz",
        moving=patients / "two" / "ct",
        fixed_labels=patients / "one" / "structures.dcm",
    )
    points = helpers.places(sitk.ReadImage(str(tmp_path / "scan.nii.gz")))
    liver = helpers.inside(points)
    found = pair.fixed.labels.array > 0
    assert np.count_nonzero(found & liver) > 0.97 * liver.sum()


def test_in_a_list_too_they_lie_on_the_voxels_of_a_nifti_scan(patients, helpers, tmp_path):
    """Rows the other way round, and half of the slices."""
    scan = sitk.Flip(helpers.by_itk(patients / "one" / "ct"), [False, True, False])
    sitk.WriteImage(scan[:, :, : scan.GetDepth() // 2], str(tmp_path / "half.nii.gz"))
    drawn = patients / "one" / "structures.dcm"
    (tmp_path / "pairs.csv").write_text(
        "fixed,moving,fixed_image,fixed_labels,moving_image,moving_labels\n"
        f"half,whole,half.nii.gz,{drawn},{patients / 'one' / 'ct'},{drawn}\n"
    )
    (pair,) = read_pairs(tmp_path / "pairs.csv", needs=("labels",))
    found = with_structures({"half": pair.fixed, "whole": pair.moving}, None)
    for name, image in (
        ("half", sitk.ReadImage(str(tmp_path / "half.nii.gz"))),
        ("whole", helpers.by_itk(patients / "one" / "ct")),
    ):
        labels, liver = found[name].labels(), helpers.inside(helpers.places(image))
        assert labels.grid.size == image.GetSize()
        np.testing.assert_allclose(labels.grid.origin, image.GetOrigin(), atol=1e-3)
        assert np.count_nonzero((labels.array > 0) & liver) > 0.97 * liver.sum()


def test_structures_that_lie_beside_the_scan_are_refused(patients):
    series = read_series(patients / "one" / "ct").grid
    away = Grid(series.size, series.spacing, tuple(np.add(series.origin, 5000)), series.direction)
    drawn = patients / "one" / "structures.dcm"
    with pytest.raises(InputError, match=r"Nothing of the structures in .*structures\.dcm lies within the scan"):
        structure_labels(drawn, {}, grid=away)
    assert structure_labels(drawn, {}, grid=series)[1] == {1: "Liver", 2: "spleen"}


def test_an_evaluation_takes_them_and_names_them(patients, helpers, tmp_path):
    """No displacement: the scores are those of the structures as they lie, each on its own grid."""
    folder = tmp_path / "mine" / "one_one2"
    folder.mkdir(parents=True)
    grid = read_series(patients / "one" / "ct").grid
    affine = np.diag([-1, -1, 1, 1]) @ grid.matrix
    field = nibabel.Nifti1Image(np.zeros((*grid.size, 1, 3), np.float32), affine)
    field.header.set_intent("vector")
    for name in ("transform_moving_to_fixed.nii.gz", "transform_fixed_to_moving.nii.gz"):
        nibabel.save(field, folder / name)
    series = read_series(patients / "one" / "ct")
    points = helpers.places(helpers.by_itk(patients / "one" / "ct"))
    spleen = np.linalg.norm(points - helpers.CENTRE - [20, 20, 5], axis=-1) < 9
    again = StructureSet(
        series.grid, (Structure("Spleen", spleen), Structure("other", helpers.inside(points) & ~spleen))
    )
    write_seg(again, series, tmp_path / "again.dcm")
    image, drawn = patients / "one" / "ct", patients / "one" / "structures.dcm"
    rows = ["fixed,moving,fixed_image,fixed_labels,moving_image,moving_labels"]
    rows.append(f"one,one2,{image},{drawn},{image},{tmp_path / 'again.dcm'}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    command = ["evaluate", tmp_path / "mine", tmp_path / "pairs.csv", "-o", tmp_path / "scores"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, (result.output, result.exception)
    organs = (tmp_path / "scores" / "organs.csv").read_text()
    assert "spleen" in organs
    scores = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert "Liver" in json.dumps(scores)
    (row,) = [line.split(",") for line in organs.splitlines() if "spleen" in line.lower() and "one" in line][:1]
    assert (
        max(float(value) for value in row if value.replace(".", "", 1).isdigit() and "." in value and float(value) <= 1)
        > 0.97
    )
