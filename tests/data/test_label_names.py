"""What label numbers mean, from every form of file that says it; files as the other tools write them."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.data.label_names import disagreement, known_names, label_name, read_label_names
from mics.errors import InputError
from mics.organs import ORGAN_NAMES

TWO = {5: "Liver", 614454277: "Aorta, abdominal"}
SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    5   255    0    0        1  1  1    "Liver"
614454277  0  255    0      0.5  1  1    "Aorta, abdominal"
"""
FORMS = {
    "dataset.json": json.dumps(
        {"labels": {"background": 0, "Liver": 5, "both": [1, 2], "Aorta, abdominal": 614454277}}
    ),
    "decathlon.json": json.dumps({"labels": {"0": "background", "5": "Liver", "614454277": "Aorta, abdominal"}}),
    "simple.json": json.dumps({"5": "Liver", "614454277": "Aorta, abdominal"}),
    "names.csv": '\ufeffid,name\n5,Liver\n614454277,"Aorta, abdominal"\n',
    "other.csv": 'name,colour,id\nLiver,red,5\n"Aorta, abdominal",blue,614454277\n',
    "snap.txt": SNAP,
    "snap.label": SNAP,
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_list(tmp_path, name):
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    assert read_label_names(tmp_path / name) == TWO


def test_a_mapping_and_names_of_unknown_labels():
    names = read_label_names({5: " Liver "})
    assert (label_name(5, names), label_name(6, names)) == ("Liver", "label 6")


@pytest.fixture
def slicer(tmp_path):
    image = sitk.GetImageFromArray(np.uint8([[[0, 5], [7, 0]]]))
    segments = {"Segment0_LabelValue": "5", "Segment0_Name": "Liver", "Segment1_LabelValue": "7"}
    for key, value in {**segments, "Segment1_Name": "Left kidney", "Segment0_Color": "1 0 0"}.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "Segmentation.seg.nrrd"))
    return tmp_path / "Segmentation.seg.nrrd"


@pytest.fixture
def totalsegmentator(tmp_path):
    table = '<CaretExtension><VolumeInformation><LabelTable><Label Key="5" Red="1"><![CDATA[kidney_left]]></Label>'
    image = nibabel.Nifti1Image(np.uint8([[[0, 5]]]), np.eye(4))
    content = f"{table}</LabelTable></VolumeInformation></CaretExtension>".encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, content))
    nibabel.save(image, tmp_path / "ct_seg.nii.gz")
    return tmp_path / "ct_seg.nii.gz"


def test_label_maps_that_name_their_labels(slicer, totalsegmentator):
    assert known_names(slicer) == read_label_names(slicer) == {5: "Liver", 7: "Left kidney"}
    assert known_names(totalsegmentator) == read_label_names(totalsegmentator) == {5: "kidney_left"}


def test_our_organs_are_named_only_where_the_data_set_says_so(tmp_path):
    plain = tmp_path / "labelsTr" / "AbdomenCTCT_0001_0000.nii.gz"
    plain.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.uint8([[[0, 6]]]), np.eye(4)), plain)
    assert known_names(plain) == {}
    (tmp_path / "manifest.csv").write_text("file,checksum\n")
    assert known_names(plain) == {}
    (tmp_path / "AbdomenCTCT_dataset.json").write_text("{}")
    assert known_names(plain) == ORGAN_NAMES


def test_a_folder_of_ours_says_so_by_its_manifest(tmp_path):
    from mics.data.manifest import write_manifest

    write_manifest([], tmp_path)
    assert known_names(tmp_path / "labels" / "nowhere.nii.gz") == ORGAN_NAMES


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.json", "{", "not a list of label names"),
        ("a.json", "[1]", "holds no object"),
        ("a.json", '{"labels": {"background": 0}}', "names no label"),
        ("a.json", '{"-3": "liver"}', "'-3' with the name 'liver' is no label"),
        ("a.json", '{"liver": 1.5}', "is no label"),
        ("a.json", '{"liver": null}', "is no label"),
        ("a.json", '{"1": "liver", "1": "spleen"}', "it says '1' twice"),
        ("a.json", '{"labels": {"liver": 1, "liver": 2}}', "it says 'liver' twice"),
        ("a.json", '{"1": "  "}', "is no label"),
        ("a.json", f'{{"{"1" * 5000}": "liver"}}', r"'1{20}'… \(5000 characters\) with the name 'liver' is no label"),
        (
            "a.json",
            '{"total": {"1": "spleen", "2": "right kidney", "3": "left kidney"}}',
            "a dict with the name 'total'",
        ),
        ("a.csv", "id,name\n1,liver\n1,spleen\n", "label 1 is both liver and spleen"),
        ("a.csv", "id,name\n1\n", "is no label"),
        ("a.csv", "1,liver\n", "columns id and name"),
        ("a.txt", "1 liver\n", "no line of ITK-SNAP's"),
        ("a.label", "", "names no label"),
        ("a.yaml", "1: liver", "its ending is none of those known"),
        ("a.nii.gz", "no image", "not a list of label names"),
        ("a.seg.nrrd", "no image", "not a list of label names"),
    ],
)
def test_what_is_no_list_of_names_is_told_in_a_sentence(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=part) as refusal:
        read_label_names(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize("name", ["missing.json", "missing.nii", "missing.seg.nrrd", "folder.csv"])
def test_what_cannot_be_opened(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_label_names(tmp_path / name)


@pytest.mark.parametrize("source", [5, None, b"names.json", [1]])
def test_arguments_of_other_types(source):
    with pytest.raises(InputError, match="Label names are a file or a mapping from ids to names, not"):
        read_label_names(source)


def test_a_name_stands_on_one_line():
    assert read_label_names({1: " right\n\tkidney "}) == {1: "right kidney"}


def test_maps_that_contradict_each_other():
    assert disagreement({1: "spleen", 3: "kidney_left"}, {2: "liver", 3: "Kidney left"}) == []
    (message,) = disagreement({5: "liver", 6: "stomach"}, {5: "esophagus", 6: "liver"})
    assert "5 is liver in one, esophagus in another" in message
