"""The Learn2Reg adapter on a generated folder: orientation settled, subjects of the validation pairs kept apart."""

import json

import nibabel
import numpy as np
import pytest

from mics.data.cohorts.learn2reg import DATASET_FILE, label_maps, open_learn2reg
from mics.errors import InputError

SHAPE = (8, 6, 5)
CHALLENGE_HEADER = np.diag([2.0, 2.0, 2.0, 1.0])


def write(path, array, affine=CHALLENGE_HEADER):
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def liver_first(dtype):
    """As in the challenge: the liver (6) at low i, and something (1) in the back, at low j, and at the top, high k."""
    array = np.full(SHAPE, 0 if dtype == np.uint8 else -100, dtype=dtype)
    array[1, 3, 2] = 6
    array[4, 0, 4] = 1
    return array


@pytest.fixture
def folder(tmp_path):
    description = {"training": [], "registration_val": []}
    for number in ("0003", "0001", "0002", "0004"):
        for kind, dtype in (("images", np.int16), ("labels", np.uint8)):
            write(tmp_path / f"{kind}Tr" / f"AbdomenCTCT_{number}_0000.nii.gz", liver_first(dtype))
        name = f"AbdomenCTCT_{number}_0000.nii.gz"
        description["training"].append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    for fixed, moving in (("0002", "0004"), ("0003", "0002")):
        pair = {"fixed": fixed, "moving": moving}
        description["registration_val"].append(
            {role: f"./imagesTr/AbdomenCTCT_{number}_0000.nii.gz" for role, number in pair.items()}
        )
    (tmp_path / DATASET_FILE).write_text(json.dumps(description))
    return tmp_path


def test_subjects_of_the_validation_pairs_are_not_trained_on(folder):
    dataset = open_learn2reg(folder)
    assert sorted(dataset.cases) == ["0001", "0002", "0003", "0004"]
    assert [case.number for case in dataset.training] == ["0001"]
    assert [case.number for case in dataset.validation] == ["0002", "0003", "0004"]


def test_pairs_as_listed_and_in_both_directions(folder):
    dataset = open_learn2reg(folder)
    assert dataset.validation_pairs == [("0002", "0004"), ("0003", "0002")]
    ordered = [(fixed.number, moving.number) for fixed, moving in dataset.ordered_validation_pairs]
    assert ordered == [("0002", "0003"), ("0002", "0004"), ("0003", "0002"), ("0004", "0002")]


def test_a_whole_release_whose_json_names_no_pairs_has_the_published_ones(tmp_path):
    listed = []
    for kind in ("images", "labels"):
        (tmp_path / f"{kind}Tr").mkdir()
    for number in range(1, 31):
        name = f"AbdomenCTCT_{number:04d}_0000.nii.gz"
        for kind in ("images", "labels"):
            (tmp_path / f"{kind}Tr" / name).touch()
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    path = tmp_path / DATASET_FILE
    path.write_text(json.dumps({"training": listed}))
    whole = open_learn2reg(tmp_path)
    assert [case.number for case in whole.validation] == [f"{number:04d}" for number in range(1, 31, 3)]
    assert (len(whole.training), len(whole.validation_pairs)) == (20, 45)
    path.write_text(json.dumps({"training": listed[:-1]}))
    assert open_learn2reg(tmp_path).validation == []
    path.write_text(json.dumps({"training": listed, "registration_val": []}))
    assert open_learn2reg(tmp_path).validation == []


def test_the_liver_is_on_the_patients_right_whatever_the_header_says(folder):
    case = open_learn2reg(folder).cases["0001"]
    for volume in (case.image(), case.labels()):
        grid = volume.grid
        assert grid.orientation == "LAS"
        assert grid.spacing == (2, 2, 2)
        np.testing.assert_array_equal(volume.array, liver_first(volume.array.dtype))
        liver, other = (grid.voxel_to_world(np.argwhere(volume.array == label)[0].astype(float)) for label in (6, 1))
        # LPS: smaller x is further right, larger y further back, larger z further up.
        np.testing.assert_allclose(other - liver, [6, 6, 4])


def test_a_header_already_put_right_is_left_alone(folder):
    path = folder / "labelsTr" / "AbdomenCTCT_0001_0000.nii.gz"
    affine = CHALLENGE_HEADER.copy()
    affine[0, 0] = -2
    affine[:3, 3] = 14, -3, 5
    write(path, liver_first(np.uint8), affine)
    grid = open_learn2reg(folder).cases["0001"].labels().grid
    assert grid.orientation == "LAS"
    np.testing.assert_allclose(grid.origin, (-14, 3, 5))


def test_any_other_orientation_is_refused(folder):
    write(folder / "imagesTr" / "AbdomenCTCT_0001_0000.nii.gz", liver_first(np.int16), np.diag([-2.0, -2, 2, 1]))
    with pytest.raises(InputError, match="this one has LPS"):
        open_learn2reg(folder).cases["0001"].image()


def test_subjects_with_labels_only(tmp_path):
    for number in ("0008", "0002"):
        write(tmp_path / f"label{number}.nii.gz", liver_first(np.uint8))
    cases = label_maps(tmp_path)
    assert [case.number for case in cases] == ["0002", "0008"]
    assert cases[0].labels().grid.orientation == "LAS"
    with pytest.raises(InputError, match="Case 0002 comes without an image"):
        cases[0].image()
    with pytest.raises(InputError, match="holds no label map"):
        label_maps(tmp_path.parent / "nowhere")


def test_a_folder_that_is_not_learn2reg_is_refused_in_one_sentence(folder):
    with pytest.raises(InputError, match=r"cannot be read .*No such file"):
        open_learn2reg(folder / "imagesTr")
    for content, message in (
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "'training'"),
        ('{"training": [{"image": "./imagesTr/scan.nii.gz"}]}', "not there"),
    ):
        (folder / DATASET_FILE).write_text(content)
        with pytest.raises(InputError, match=message):
            open_learn2reg(folder)


def test_a_missing_file_and_an_unknown_subject_are_named(folder):
    path = folder / DATASET_FILE
    description = json.loads(path.read_text())
    description["registration_val"].append(
        {"fixed": "AbdomenCTCT_0002_0000.nii.gz", "moving": "AbdomenCTCT_0009_0000.nii.gz"}
    )
    path.write_text(json.dumps(description))
    with pytest.raises(InputError, match="pairs case 0009"):
        open_learn2reg(folder)
    (folder / "labelsTr" / "AbdomenCTCT_0003_0000.nii.gz").unlink()
    with pytest.raises(InputError, match=r"AbdomenCTCT_0003_0000\.nii\.gz, which is not there"):
        open_learn2reg(folder)


def test_a_scan_in_place_of_a_label_map_is_refused(folder):
    write(folder / "labelsTr" / "AbdomenCTCT_0001_0000.nii.gz", liver_first(np.int16))
    with pytest.raises(
        InputError, match=r"0001_0000\.nii\.gz is not a label map: it holds negative values, down to -100"
    ):
        open_learn2reg(folder).cases["0001"].labels()
