import pytest

from mics.batch.listing import as_csv, listed_pairs, pairs_of_folder
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


def test_the_list_that_is_written_is_read_again(folder):
    pairs = pairs_of_folder(folder / "template.nii.gz", folder / "scans")
    (folder / "pairs.csv").write_text(as_csv(pairs))
    assert listed_pairs(folder / "pairs.csv") == pairs
    assert [pair.name for pair in read_pairs(folder / "pairs.csv")] == [pair.name for pair in pairs]


def test_what_cannot_be_a_batch_is_refused(folder):
    with pytest.raises(InputError, match="no label map called atlas: give one for each of the 4 scans"):
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
    with pytest.raises(InputError, match="a fixed_image is needed"):
        listed_pairs(folder / "pairs.csv")
