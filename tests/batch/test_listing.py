import dataclasses
import json
import shutil

import pytest

from mics.batch.listing import as_csv, listed_pairs, pairs_of_folder
from mics.batch.work import BatchSettings, PairTask, not_registered, source_of
from mics.data.pairs import read_pairs
from mics.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Files of every kind, empty: nothing here is read."""
    (tmp_path / "scans" / "series").mkdir(parents=True)
    (tmp_path / "scans" / "series" / "1").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "scans" / "older").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("b.nii.gz", "a.nrrd", "notes.txt", ".DS_Store", "._b.nii.gz", "atlas.nii"):
        (tmp_path / "scans" / name).touch()
    for name in ("a", "b", "series"):
        (tmp_path / "labels" / f"{name}.nii.gz").touch()
    (tmp_path / "template.nii.gz").touch()
    return tmp_path


def test_every_scan_of_a_folder_and_nothing_else(folder):
    pairs = pairs_of_folder(folder / "scans" / "atlas.nii", folder / "scans")
    assert [pair.name for pair in pairs] == ["atlas_a", "atlas_b", "atlas_series"]
    assert pairs[2].files["moving_image"] == folder / "scans" / "series"


def test_label_maps_are_called_as_the_scans_are(folder):
    (folder / "scans" / "atlas.nii").unlink()
    pairs = pairs_of_folder(
        folder / "template.nii.gz",
        folder / "scans",
        fixed_labels=folder / "labels" / "a.nii.gz",
        moving_labels=folder / "labels",
    )
    assert [pair.files["moving_labels"].name for pair in pairs] == ["a.nii.gz", "b.nii.gz", "series.nii.gz"]
    assert {pair.files["fixed_labels"].name for pair in pairs} == {"a.nii.gz"}


def test_a_label_map_beside_a_scan_is_its_label_map_and_no_scan(folder):
    scans = folder / "scans"
    for name in (
        "b_labels.nii.gz",
        "b_seg.nii.gz",
        "atlas.seg.nrrd",
        "img7.nii.gz",
        "label7.nii.gz",
        "c_labels.nii.gz",
    ):
        (scans / name).touch()
    pairs = {pair.moving: pair.files for pair in pairs_of_folder(scans / "atlas.nii", scans)}
    # What has no scan beside it is looked at, and refused as a scan then.
    assert list(pairs) == ["a", "b", "c_labels", "img7", "series"]
    assert pairs["b"]["moving_labels"] == scans / "b_labels.nii.gz"
    assert pairs["img7"]["moving_labels"] == scans / "label7.nii.gz"
    assert "moving_labels" not in pairs["a"]
    assert {files["fixed_labels"] for files in pairs.values()} == {scans / "atlas.seg.nrrd"}


def test_label_maps_that_are_given_count_and_not_those_beside_the_scans(folder):
    scans = folder / "scans"
    (scans / "b_labels.nii.gz").touch()
    (scans / "atlas.nii").unlink()
    pairs = pairs_of_folder(folder / "template.nii.gz", scans, moving_labels=folder / "labels")
    assert [pair.files["moving_labels"].parent.name for pair in pairs] == ["labels"] * 3


def test_the_list_that_is_written_is_read_again(folder):
    pairs = pairs_of_folder(folder / "template.nii.gz", folder / "scans")
    (folder / "pairs.csv").write_text(as_csv(pairs))
    assert listed_pairs(folder / "pairs.csv") == pairs
    assert [pair.name for pair in read_pairs(folder / "pairs.csv")] == [pair.name for pair in pairs]


def test_what_cannot_be_a_batch_is_refused(folder):
    with pytest.raises(InputError, match="no label map called atlas: give one for each scan"):
        pairs_of_folder(folder / "template.nii.gz", folder / "scans", moving_labels=folder / "labels")
    (folder / "scans" / "a.mha").touch()
    with pytest.raises(InputError, match="have one name without their endings"):
        pairs_of_folder(folder / "template.nii.gz", folder / "scans")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scan"):
        pairs_of_folder(folder / "template.nii.gz", folder / "empty")
    with pytest.raises(InputError, match="is no folder"):
        pairs_of_folder(folder / "template.nii.gz", folder / "template.nii.gz")
    (folder / "pairs.csv").write_text("fixed,moving\na,b\n")
    with pytest.raises(InputError, match="no fixed_image is given"):
        listed_pairs(folder / "pairs.csv")


def test_messages_name_files_as_the_list_does(folder):
    patient = folder / "Doe_Jane"
    (patient / "ct").mkdir(parents=True)
    for name in ("moving.nii.gz", "moving.raw", "labels.nii.gz"):
        (patient / name).touch()
    rows = [
        "fixed,moving,fixed_image,moving_image,moving_labels",
        f"a,b,ct,moving.nii.gz,{folder / 'labels' / 'a.nii.gz'}",
    ]
    (patient / "pairs.csv").write_text("\n".join(rows) + "\n")
    (pair,) = listed_pairs(patient / "pairs.csv")
    message = f"{patient / 'ct' / '1.dcm'} differs from {patient / 'moving.nii.gz'} and {patient / 'moving.raw'}."
    assert pair.with_listed_names(message) == "ct/1.dcm differs from moving.nii.gz and moving.raw."
    given = str(folder / "labels" / "a.nii.gz")  # as the list names it
    assert pair.with_listed_names(f"{given} is no label map.") == f"{given} is no label map."
    (other, *_) = pairs_of_folder(folder / "template.nii.gz", folder / "scans")
    assert (
        other.with_listed_names(f"{folder / 'scans' / 'a.nrrd'} and {folder / 'template.nii.gz'}")
        == "a.nrrd and template.nii.gz"
    )


@pytest.fixture
def task(folder):
    (folder / "scans" / "a.mhd").write_text("ElementDataFile = a.raw\n")
    (folder / "scans" / "a.raw").touch()
    (folder / "affine.tfm").touch()
    (folder / "names.json").touch()
    rows = ["fixed,moving,fixed_image,moving_image,moving_labels", "s,a,scans/series,scans/a.mhd,labels/a.nii.gz"]
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    (pair,) = listed_pairs(folder / "pairs.csv")
    plain = dict.fromkeys(BatchSettings.__dataclass_fields__)
    files = {"affine": str(folder / "affine.tfm"), "label_names": str(folder / "names.json")}
    return PairTask(pair, folder / "out", BatchSettings(**plain | files))


@pytest.mark.parametrize(
    "name", ["scans/series/2", "scans/a.raw", "labels/a.nii.gz", "affine.tfm", "names.json", "AbdomenCTCT_dataset.json"]
)
def test_a_change_of_any_file_that_a_pair_depends_on_is_noticed(folder, task, name):
    before = source_of(task)
    assert source_of(task) == before
    with (folder / name).open("ab") as file:
        file.write(b"more")
    assert source_of(task) != before


def test_another_file_of_the_same_name_is_noticed(folder, task):
    before = source_of(task)
    shutil.copytree(folder, folder / "copy", dirs_exist_ok=True, ignore=shutil.ignore_patterns("copy"))
    other = dataclasses.replace(task.settings, affine=str(folder / "copy" / "affine.tfm"))
    assert source_of(dataclasses.replace(task, settings=other)) != before


def test_nothing_of_folders_is_kept_with_a_pair(folder, task):
    kept = json.dumps(source_of(task))
    assert not any(part in kept for part in (*folder.parts[1:], "a.mhd", "scans"))


def test_label_names_count_where_there_are_labels(folder, task):
    files = {kind: path for kind, path in task.pair.files.items() if kind.endswith("image")}
    bare = dataclasses.replace(task, pair=dataclasses.replace(task.pair, files=files))
    before = source_of(bare)
    (folder / "names.json").write_text("{}")
    assert source_of(bare) == before


def test_errors_name_no_folder_of_the_batch_or_of_its_settings(folder, task):
    message = (
        f"{folder / 'affine.tfm'}, {folder / 'names.json'} and {folder / 'out' / 's_a'}: {folder / 'scans' / 'a.mhd'}."
    )
    assert not_registered(task, InputError(message)).error == "affine.tfm, names.json and out/s_a: scans/a.mhd."
