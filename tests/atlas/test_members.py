import json

import numpy as np
import pytest

from mics import Grid, Image, InputError, write_image
from mics.atlas.members import read_member, read_members
from mics.image.io import write_labels

GRID = Grid((12, 10, 8), (10, 10, 10), (0, 0, 0))


def add(folder, image, labels=None, value=1):
    """A scan of tissue in air, and its label map, by their names in the folder."""
    hu = np.full(GRID.size, -1000, np.float32)
    hu[2:-2, 2:-2, 2:-2] = 50 + np.arange(4)
    for name in filter(None, (image, labels)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(hu, GRID), folder / image)
    if labels:
        write_labels(Image((hu > 0).astype(np.uint8) * value, GRID), folder / labels)


def found(source, *, labelled=True):
    return {member.name: len(member.files) for member in read_members(source, labelled=labelled)}


def test_nnunet_with_names_and_without_a_second_channel(tmp_path):
    for name in ("b", "a"):
        add(tmp_path, f"imagesTr/{name}_0000.nrrd", f"labelsTr/{name}.nrrd")
    add(tmp_path, "imagesTr/a_0001.nrrd")
    add(tmp_path, "imagesTr/c_0000.nrrd")
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1}, "file_ending": ".nrrd"})
    )
    assert found(tmp_path, labelled=False) == {"a": 2, "b": 2, "c": 1}
    with pytest.warns(UserWarning, match=": c without a label map left out"):
        members = read_members(tmp_path, labelled=True)
    assert {member.name: len(member.files) for member in members} == {"a": 2, "b": 2}
    assert members[0].label_names() == {1: "liver"}


def test_the_decathlons_images_have_no_channel(tmp_path):
    add(tmp_path, "imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz")
    assert found(tmp_path) == {"liver_1": 2}


def test_learn2reg_is_read_in_its_true_orientation(tmp_path):
    left_to_right = Grid(GRID.size, GRID.spacing, GRID.origin, (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    names = [("imagesTr", "image"), ("labelsTr", "label")]
    for folder, _ in names:
        (tmp_path / folder).mkdir()
        array = np.zeros(GRID.size, np.uint8)
        array[:3] = 6
        write_labels(Image(array, left_to_right), tmp_path / folder / "AbdomenCTCT_0007_0000.nii.gz")
    listed = {kind: f"./{folder}/AbdomenCTCT_0007_0000.nii.gz" for folder, kind in names}
    (tmp_path / "AbdomenCTCT_dataset.json").write_text(json.dumps({"training": [listed]}))
    (member,) = read_members(tmp_path, labelled=True)
    assert (member.name, member.mirrored_header, member.labels().grid.orientation) == ("0007", True, "LAS")
    assert member.label_names()[6] == "liver"


@pytest.mark.parametrize(
    ("image", "labels", "name"),
    [
        ("img0005.nii.gz", "label0005.nii.gz", "0005"),
        ("ct.nii.gz", "ct_labels.nii.gz", "ct"),
        ("ct.mha", "ct_seg.nii.gz", "ct"),
        ("ct.nrrd", "ct.seg.nrrd", "ct"),
    ],
)
def test_pairs_of_files_in_one_folder(tmp_path, image, labels, name):
    add(tmp_path, image, labels)
    add(tmp_path, "alone.nii.gz")
    assert found(tmp_path, labelled=False) == {name: 2, "alone": 1}
    with pytest.warns(UserWarning, match=": alone without a label map left out"):
        (member,) = read_members(tmp_path, labelled=True)
    assert (member.name, len(member.files)) == (name, 2)
    scan, label_map = read_member(member)
    assert scan.grid == label_map.grid
    assert np.count_nonzero(label_map.array) == np.count_nonzero(scan.array > 0)


def test_a_table(tmp_path):
    add(tmp_path, "a/ct.nii.gz", "a/organs.nii.gz")
    add(tmp_path, "b/ct.nii.gz")
    table = tmp_path / "list.csv"
    table.write_text("name,image,labels\nann,a/ct.nii.gz,a/organs.nii.gz\nbob,b/ct.nii.gz,\n")
    assert found(table, labelled=False) == {"ann": 2, "bob": 1}
    table.write_text("image,labels\na/ct.nii.gz,a/organs.nii.gz\nb/ct.nii.gz,\n")
    with pytest.raises(InputError, match="two scans are called ct"):
        found(table, labelled=False)
    table.write_text("scan\nct.nii.gz\n")
    with pytest.raises(InputError, match="has no column image"):
        found(table)


def test_what_is_no_set_of_scans_is_told(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        found(tmp_path / "none")
    with pytest.raises(InputError, match="no scans with labels in a layout that is known"):
        found(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text('{"file_ending": ".png"}')
    with pytest.raises(InputError, match="file_ending is one of"):
        found(tmp_path)
