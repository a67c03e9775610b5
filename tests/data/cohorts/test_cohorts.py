"""Every adapter on generated subjects in a folder laid out as its publisher does: what comes out is the subject put in."""

import json
import shutil
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.data.cohorts.catalogue import ADAPTERS, open_cohorts
from mics.errors import InputError

# cohort: how the generator calls it, its first annotated subject's number there, orientation and shift, our ids kept
EXPECTED = {
    "learn2reg": ("l2r", 1, "LAS", 0.0, range(1, 14)),
    "learn2reg-2020": ("l2r", 1, "LAS", 0.0, range(1, 14)),
    "pancreas-ct": ("tcia", 1, "LPS", -300.0, (1, 3, 4, 5, 6, 7, 11)),
    "kits19": ("kits", 0, "IPL", 500.0, (2, 3)),
    "msd-liver": ("msd-liver", 0, "RAS", 150.0, (6,)),
    "msd-pancreas": ("msd-pancreas", 0, "RAS", 150.0, (11,)),
    "msd-spleen": ("msd-spleen", 0, "LAS", 150.0, (1,)),
    "nnunet": ("own", 0, "RPI", -80.0, (2, 3, 6)),
}


def opened(published, cohort):
    """The cohort as its adapter sees it; both releases of Learn2Reg have one adapter."""
    name = cohort.removesuffix("-2020")
    return open_cohorts({name: published(cohort)})[name]


@pytest.mark.parametrize("cohort", EXPECTED)
def test_scan_labels_and_organs_are_those_of_the_subject(published, publishers, cohort):
    name, number, orientation, shift, organs = EXPECTED[cohort]
    subject = publishers.subject(name, number, 8.0, orientation, shift)
    case = next(case for case in opened(published, cohort).cases if case.labels_path is not None)
    image, labels = case.image(), case.labels()
    assert case.organs == tuple(organs)
    assert image.grid.orientation == orientation
    assert labels.grid == image.grid
    assert (image.array.dtype, labels.array.dtype) == (np.float32, np.uint8)
    # What stands where in the world is what counts; Learn2Reg's files do not keep the world's origin.
    np.testing.assert_array_equal(image.array, subject.image.array)
    np.testing.assert_array_equal(
        labels.array, np.where(np.isin(subject.labels.array, organs), subject.labels.array, 0)
    )
    if name != "l2r":
        np.testing.assert_allclose(image.grid.corners(), subject.image.grid.corners(), atol=1e-3)


@pytest.mark.parametrize(
    ("cohort", "names", "unlabelled"),
    [
        ("learn2reg", ["0001", "0002", "0003"], {"0003": "test"}),
        ("learn2reg-2020", ["0001", "0002", "0061"], {"0061": "test"}),
        ("pancreas-ct", ["PANCREAS_0001", "PANCREAS_0002"], {}),
        ("kits19", ["case_00000", "case_00001", "case_00210"], {"case_00210": "train"}),
        ("msd-liver", ["liver_0", "liver_1", "liver_2"], {"liver_2": "train"}),
        ("msd-spleen", ["spleen_0", "spleen_1", "spleen_2"], {"spleen_2": "train"}),
        ("nnunet", ["own_0", "own_1"], {}),
    ],
)
def test_everybody_is_found_and_those_without_labels_annotate_nothing(published, cohort, names, unlabelled):
    cases = opened(published, cohort).cases
    assert [case.name for case in cases] == names
    assert {case.name: case.split for case in cases if not case.organs} == unlabelled
    for case in cases:
        assert (case.labels_path is None) == (case.name in unlabelled)


def test_of_one_pancreas_case_only_the_pancreas_is_annotated(published, publishers):
    case = opened(published, "pancreas-ct").cases[1]
    subject = publishers.subject("tcia", 2, 8.0, "LPS")
    assert case.organs == (11,)
    np.testing.assert_array_equal(case.labels().array == 11, subject.labels.array == 11)


@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("slices", [1, -1])
def test_pancreas_labels_with_rows_or_slices_reversed_are_laid_over_the_series_all_the_same(
    published, publishers, tmp_path, rows, slices
):
    folder = tmp_path / "copy"
    shutil.copytree(published("pancreas-ct"), folder)
    for path in folder.glob("*/label*.nii.gz"):
        file = nibabel.load(path)
        array = np.asarray(file.dataobj)[:, ::rows, ::slices]
        nibabel.save(nibabel.Nifti1Image(array, file.affine), path)
    several, pancreas = open_cohorts({"pancreas-ct": folder})["pancreas-ct"].cases
    for case, number in ((several, 1), (pancreas, 2)):
        truth = publishers.subject("tcia", number, 8.0, "LPS").labels.array
        np.testing.assert_array_equal(case.labels().array, np.where(np.isin(truth, case.organs), truth, 0))


def test_pancreas_folders_as_downloads_leave_them_are_found(published, tmp_path):
    shutil.copytree(published("pancreas-ct"), tmp_path / "here")
    for made, place in (
        ("Pancreas-CT", "manifest-1599/Pancreas-CT"),
        ("label_tcia_multiorgan", "label_tciapancreasct_multiorgan"),
    ):
        (tmp_path / "there" / place).parent.mkdir(parents=True, exist_ok=True)
        inner = place if made == "Pancreas-CT" else f"{place}/{made}"
        shutil.copytree(tmp_path / "here" / made, tmp_path / "there" / inner)
    cases = open_cohorts({"pancreas-ct": tmp_path / "there"})["pancreas-ct"].cases
    assert [len(case.organs) for case in cases] == [7, 0]
    assert cases[0].image().array.shape == (48, 40, 64)


def test_labels_of_another_extent_than_the_series_are_refused(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("pancreas-ct"), folder)
    small = next(iter(folder.glob("TCIA*/label0002.nii.gz")))
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), small)
    with pytest.raises(InputError, match=r"has \(4, 4, 4\) voxels, the series"):
        open_cohorts({"pancreas-ct": folder})["pancreas-ct"].cases[1].labels()


@pytest.mark.parametrize(("cohort", "name"), [("kits19", "case_00015"), ("pancreas-ct", "PANCREAS_0025")])
def test_known_bad_cases_are_left_out_and_named(published, tmp_path, cohort, name):
    folder = tmp_path / "copy"
    shutil.copytree(published(cohort), folder)
    first = next(iter(sorted(folder.glob(f"**/{name[:5]}*"))))
    shutil.copytree(first, first.parent / name)
    found = opened(lambda _: folder, cohort)
    assert name not in [case.name for case in found.cases]
    assert "publisher" in found.excluded[name]
    assert len(found.cases) == len(opened(published, cohort).cases)


@pytest.mark.parametrize("cohort", [name for name in ADAPTERS if name != "nnunet"])
def test_a_folder_that_does_not_match_says_what_was_expected_and_found(tmp_path, cohort):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected .*(images|imaging|img|DICOM).*, found holiday\.jpg\."):
        open_cohorts({cohort: tmp_path})
    with pytest.raises(InputError, match="is not a folder"):
        open_cohorts({cohort: tmp_path / "nowhere"})


def test_an_unknown_cohort_is_corrected(tmp_path):
    with pytest.raises(InputError, match="did you mean 'kits19'"):
        open_cohorts({"kits21": tmp_path})


def test_another_task_of_the_decathlon_is_refused(published):
    with pytest.raises(InputError, match="its label 1 is 'spleen', expected 'liver'"):
        open_cohorts({"msd-liver": published("msd-spleen")})


def test_a_file_that_the_decathlon_lists_and_that_is_not_there_is_named(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("msd-spleen"), folder)
    (folder / "labelsTr" / "spleen_1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"spleen_1\.nii\.gz, which is not there"):
        open_cohorts({"msd-spleen": folder})


def test_a_release_of_2020_with_an_image_but_no_labels_is_not_complete(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("learn2reg-2020"), folder)
    (folder / "Training" / "label" / "label0002.nii.gz").unlink()
    with pytest.raises(InputError, match="case 0002 has an image or labels, but not both"):
        open_cohorts({"learn2reg": folder})


def test_subjects_of_the_validation_pairs_have_the_split_val(published, publishers, tmp_path):
    folder = publishers.learn2reg(tmp_path / "four", 3, 16.0)
    cases = open_cohorts({"learn2reg": folder})["learn2reg"].cases
    assert {case.name: case.split for case in cases} == {"0001": "train", "0002": "val", "0003": "val", "0004": "test"}
    of_2020 = publishers.learn2reg_2020(tmp_path / "2020", 4, 16.0)
    cases = open_cohorts({"learn2reg": of_2020})["learn2reg"].cases
    expected = {"0001": "val", "0002": "train", "0003": "train", "0004": "val", "0061": "test"}
    assert {case.name: case.split for case in cases} == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("labels: {lever: 1}", "did you mean 'liver'"),
        ("labels: {liver: zero}", "one label from 1 to 255"),
        ("labels: {liver: 1, spleen: [2, 1]}", "label 1 is both"),
        ("folder: elsewhere", "must hold labels"),
        ("labels: {liver: 2}\nfolder: elsewhere", "is not a folder"),
        ("labels: {liver: 2}\nfolder: Dataset501_Abdomen\nvalidation: [nobody]", "holds out nobody"),
        ("labels: [", "not valid YAML"),
    ],
)
def test_a_description_of_own_data_that_is_amiss_is_refused(published, tmp_path, content, message):
    folder = tmp_path / "copy"
    shutil.copytree(published("nnunet").parent, folder)
    (folder / "cohort.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        open_cohorts({"nnunet": folder / "cohort.yaml"})


@pytest.mark.parametrize(
    "described",
    [
        {
            "labels": {"background": 0, "Liver": [2, 3], "tumour": 3, "kidney": 5, "rib_left_1": 9},
            "channel_names": {"0": "PET", "1": "CT"},
            "file_ending": ".nrrd",
        },
        {"labels": {"0": "background", "2": "liver", "5": "kidneys", "9": "rib"}, "modality": {"0": "CT"}},
    ],
    ids=["second version", "first version"],
)
def test_a_dataset_json_is_read_as_it_is(published, tmp_path, described):
    folder = tmp_path / "Dataset501_Abdomen"
    shutil.copytree(published("nnunet").parent / folder.name, folder)
    ending, channel = described.get("file_ending", ".nii.gz"), "1" if "channel_names" in described else "0"
    for path in [*folder.rglob("*.nii.gz")]:
        name = path.name.replace("_0000.", f"_000{channel}.").replace(".nii.gz", ending)
        sitk.WriteImage(sitk.ReadImage(str(path)), str(path.with_name(name)))
        if name != path.name:
            path.unlink()
    (folder / "dataset.json").write_text(json.dumps(described))
    by_yaml = open_cohorts({"nnunet": published("nnunet")})["nnunet"].cases
    for place in (folder, folder / "dataset.json"):
        cases = open_cohorts({"nnunet": place})["nnunet"].cases
        assert [case.name for case in cases] == ["own_0", "own_1"]
        assert cases[0].organs == by_yaml[0].organs
    theirs = by_yaml[0].labels().array
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = cases[0].labels().array
    # The first version does not name the tumour's label.
    unnamed = ["own_0 has labels that its data set does not name (3): they are taken for background."]
    assert [str(one.message) for one in caught] == (unnamed if channel == "0" else [])
    assert np.mean(ours != theirs) < (1e-4 if channel == "0" else 1e-9)  # the tumour's voxel is no label of the first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": {"femur": 1}, "channel_names": {"0": "CT"}}, "none of its labels"),
        ({"labels": {"liver": 1}, "channel_names": {"0": "MRI"}}, "must be CT, and they are MRI"),
        ({"labels": {"liver": 1, "ignore": 2}, "channel_names": {"0": "CT"}}, "not annotated"),
        ({"labels": {"liver": 1}, "channel_names": {"0": "CT"}, "file_ending": ".png"}, "say no place"),
        (
            {"labels": {"kidney_left": 1, "left kidney": 2}, "channel_names": {"0": "CT"}},
            "two of its labels are left kidney",
        ),
        ({"labels": {"liver": 1}, "channel_names": {"0": "CT"}, "dataset": {}}, "one by one"),
        ({"labels": {"liver": 1}}, "must hold labels and channel_names"),
        (
            {"labels": {"liver": 1}, "channel_names": {"0": "CT"}, "file_ending": ".mha"},
            r"expected imagesTr/NAME_0000\.mha",
        ),
    ],
)
def test_a_dataset_json_that_cannot_be_meant_is_refused(tmp_path, content, message):
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        open_cohorts({"nnunet": tmp_path})


def test_own_data_hold_out_whom_the_description_names(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("nnunet").parent, folder)
    with (folder / "cohort.yaml").open("a") as file:
        file.write("validation: [own_1]\n")
    cases = open_cohorts({"nnunet": folder / "cohort.yaml"})["nnunet"].cases
    assert [case.split for case in cases] == ["train", "val"]


def test_a_scan_in_place_of_the_labels_is_refused(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("nnunet").parent, folder)
    (image,) = folder.rglob("imagesTr/own_0_0000.nii.gz")
    shutil.copyfile(image, image.parents[1] / "labelsTr" / "own_0.nii.gz")
    case = open_cohorts({"nnunet": folder / "cohort.yaml"})["nnunet"].cases[0]
    with pytest.raises(
        InputError, match=r"own_0\.nii\.gz is not a label map: it holds (negative values|values that are not)"
    ):
        case.labels()


def test_labels_on_another_grid_than_the_scan_are_refused(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("kits19"), folder)
    path = folder / "case_00000" / "segmentation.nii.gz"
    file = nibabel.load(path)
    moved = file.affine.copy()
    moved[0, 3] += 20
    nibabel.save(nibabel.Nifti1Image(np.asarray(file.dataobj), moved), path)
    with pytest.raises(InputError, match=r"segmentation\.nii\.gz is on another grid"):
        open_cohorts({"kits19": folder})["kits19"].cases[0].labels()


def test_a_json_that_is_not_the_decathlons_is_told(published, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(published("msd-liver"), folder)
    (folder / "dataset.json").write_text(json.dumps({"labels": ["liver"]}))
    with pytest.raises(InputError, match="is not laid out as the decathlon's"):
        open_cohorts({"msd-liver": folder})
