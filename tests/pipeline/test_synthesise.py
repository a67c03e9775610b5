"""Subjects of whom only labels are known become training cases, once, and nobody of the validation lends a scan."""

import shutil

import nibabel
import numpy as np
import pytest
import torch

from mics.data.manifest import read_manifest, write_manifest
from mics.errors import InputError
from mics.evaluation.metrics import dice
from mics.image.io import read_image, read_labels
from mics.organs import ORGAN_NAMES
from mics.pipeline import synthesise as module
from mics.pipeline.synthesise import synthesise
from mics.pseudo_labels.complete import complete
from mics.training.cache import read_cases
from mics.training.cases import prepare as prepare_training

CLAIMED = np.diag([16.0, 16, 16, 1])


@pytest.fixture(scope="module")
def data(publishers, tmp_path_factory):
    """A Learn2Reg folder of two subjects for training, two for validation, and one for the test."""
    return publishers.learn2reg(tmp_path_factory.mktemp("learn2reg"), 4, 16.0)


@pytest.fixture(scope="module")
def labels(publishers, tmp_path_factory):
    """The label maps of two more subjects, one of them with a header of another size, and one that is no file of this kind."""
    folder = tmp_path_factory.mktemp("labels")
    whole = publishers.subject("l2r", 50, 16.0, "LAS").labels.array
    for name, array in (("label0050", whole), ("label0051", whole[:-2])):
        nibabel.save(nibabel.Nifti1Image(array, CLAIMED), folder / f"{name}.nii.gz")
    (folder / "label0052.nii.gz").write_bytes(b"not a label map")
    return folder


def nothing_moves(labels, wanted, organs, share=1.0):
    return torch.zeros(1, 3, *labels.grid.size)


@pytest.fixture
def still(monkeypatch):
    """Registration that moves nothing, in no time."""
    monkeypatch.setattr(module, "fit", nothing_moves)


@pytest.fixture(scope="module")
def made(data, labels, tmp_path_factory):
    """The synthesised set; read only."""
    out, message = tmp_path_factory.mktemp("synthesised") / "out", []
    rows = synthesise(data, labels, out, source_cases=3, progress=message.append)
    return out, {row.name: row for row in rows}, message


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everybody_is_there_and_nobody_of_validation_or_test_is_a_source_case(made):
    out, rows, _ = made
    assert {name: (row.split, row.status) for name, row in rows.items()} == {
        "learn2reg_0001": ("train", "prepared"),
        "learn2reg_0002": ("train", "prepared"),
        "learn2reg_0003": ("val", "prepared"),
        "learn2reg_0004": ("val", "prepared"),
        "learn2reg_0005": ("test", "prepared"),
        "learn2reg_0001_as_0050": ("train", "prepared"),
        "learn2reg_0002_as_0050": ("train", "prepared"),
        "synthesised_0051": ("train", "failed"),
        "synthesised_0052": ("train", "failed"),
    }
    assert read_manifest(out) == [rows[name] for name in sorted(rows)]
    grids = {read_image(out / row.image).grid for row in rows.values() if row.image}
    assert len(grids) == 1
    assert grids.pop().orientation == "LAS"


def test_a_bad_label_map_is_told_and_does_not_stop_the_rest(made):
    _, rows, message = made
    assert (
        "label0051.nii.gz is on another grid than the training subjects (22 × 20 × 32 against"
        in rows["synthesised_0051"].reason
    )
    assert "label0052.nii.gz" in rows["synthesised_0052"].reason
    assert sorted(row.name for row in message) == sorted(rows)


def test_the_new_subject_has_the_shape_of_the_label_map(made, publishers):
    out, rows, _ = made
    wanted = publishers.subject("l2r", 50, 16.0, "LAS").labels.array
    for source_case in ("learn2reg_0001", "learn2reg_0002"):
        row = rows[f"{source_case}_as_0050"]
        before = dice(wanted, read_labels(out / rows[source_case].labels).array, ORGAN_NAMES)
        after = dice(wanted, read_labels(out / row.labels).array, ORGAN_NAMES)
        assert np.mean(list(after.values())) > np.mean(list(before.values())) + 0.2
        assert row.checks["dice_before"] == pytest.approx(np.mean(list(before.values())), abs=0.02)
        assert row.checks["dice_after"] == pytest.approx(np.mean(list(after.values())), abs=0.02)


def test_a_training_and_pseudo_labels_take_it(made, tmp_path):
    out, _, _ = made
    prepare_training(str(out), tmp_path / "cases", 16.0)
    assert {case.name: case.split for case in read_cases(tmp_path / "cases")} == {
        "learn2reg_0001": "train",
        "learn2reg_0002": "train",
        "learn2reg_0001_as_0050": "train",
        "learn2reg_0002_as_0050": "train",
        "learn2reg_0003": "val",
        "learn2reg_0004": "val",
    }
    completed = {row.name: row for row in complete(out, tmp_path / "completed")}
    assert completed["learn2reg_0001_as_0050"].organs == tuple(ORGAN_NAMES)


def test_nothing_is_done_twice_and_what_was_stopped_or_lost_goes_on(made, data, labels, tmp_path, monkeypatch):
    out, message = tmp_path / "out", []
    shutil.copytree(made[0], out)
    before = contents(out)
    monkeypatch.setattr(module, "fit", None)
    rows = synthesise(data, labels, out, progress=message.append)
    assert [row.name for row in message] == ["synthesised_0051", "synthesised_0052"]
    assert contents(out) == before
    assert rows == read_manifest(out)
    message.clear()
    monkeypatch.setattr(module, "fit", nothing_moves)
    monkeypatch.setattr(module, "MIN_DICE", 0)
    (out / "labels" / "learn2reg_0002_as_0050.nii.gz").unlink()
    synthesise(data, labels, out, progress=message.append)
    assert [row.name for row in message] == ["learn2reg_0002_as_0050", "synthesised_0051", "synthesised_0052"]
    after = contents(out)
    changed = {name for name in before if before[name] != after[name]} - {"manifest.csv"}
    assert {name.split("/")[-1].split(".")[0] for name in changed} == {"learn2reg_0002_as_0050"}
    assert after.keys() == before.keys()


@pytest.mark.usefixtures("still")
def test_a_prepared_set_is_used_where_it_is_and_only_the_best_source_cases(made, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_DICE", 0)
    originals, out = made[0] / "originals", tmp_path / "out"
    rows = {row.name: row for row in synthesise(originals, labels, out, source_cases=1)}
    assert not (out / "originals").exists()
    assert (out / rows["learn2reg_0001"].image).resolve() == (originals / "images" / "learn2reg_0001.nii.gz").resolve()
    assert sum(name.endswith("_as_0050") for name in rows) == 1


@pytest.mark.usefixtures("still")
def test_a_source_case_that_does_not_take_on_the_shape_is_left_out_in_a_sentence(made, labels, tmp_path):
    out = tmp_path / "out"
    rows = {row.name: row for row in synthesise(made[0] / "originals", labels, out, source_cases=1)}
    (left,) = (row for name, row in rows.items() if name.endswith("_as_0050"))
    assert left.status == "excluded"
    assert left.reason.startswith("Left out: its organs overlap those of label0050.nii.gz by 0.")
    assert not list((out / "images").iterdir())


def test_a_subject_whose_scan_is_there_is_no_new_one(made, data, tmp_path):
    """Above all nobody of the validation may be trained on in another's clothes."""
    folder = tmp_path / "labels"
    folder.mkdir()
    shutil.copy(data / "labelsTr" / "AbdomenCTCT_0003_0000.nii.gz", folder / "label0003.nii.gz")
    rows = {row.name: row for row in synthesise(made[0] / "originals", folder, tmp_path / "out")}
    assert rows["synthesised_0003"].status == "failed"
    assert "is of learn2reg_0003 (val), whose scan is there" in rows["synthesised_0003"].reason


def test_what_cannot_be_used_is_refused_and_nothing_is_written(made, data, labels, tmp_path):
    originals, empty, out = made[0] / "originals", tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no label map"):
        synthesise(data, empty, out)
    with pytest.raises(InputError, match="is not laid out as Learn2Reg AbdomenCTCT"):
        synthesise(empty, labels, out)
    with pytest.raises(InputError, match="holds the data themselves"):
        synthesise(originals, labels, originals)
    with pytest.raises(InputError, match="holds the data themselves"):
        synthesise(made[0], labels, made[0])
    without_training = tmp_path / "without_training"
    without_training.mkdir()
    write_manifest([row for row in read_manifest(originals) if row.split != "train"], without_training)
    for folder in ("images", "labels"):
        shutil.copytree(originals / folder, without_training / folder)
    with pytest.raises(InputError, match="there is no source case"):
        synthesise(without_training, labels, out)
    assert not out.exists()


@pytest.mark.nightly
def test_subjects_between_training_subjects_lie_part_of_the_way(data, tmp_path):
    rows = {row.name: row for row in synthesise(data, None, tmp_path / "out", between=1)}
    assert set(rows) == {
        *(f"learn2reg_{number:04d}" for number in (1, 2, 3, 4, 5)),
        "learn2reg_0001_towards_learn2reg_0002",
        "learn2reg_0002_towards_learn2reg_0001",
    }
    made = [row for name, row in rows.items() if "towards" in name]
    for row in made:
        share, before, after = (row.checks[key] for key in ("share", "dice_before", "dice_after"))
        assert 0.3 <= share <= 0.8 or -0.4 <= share <= -0.15
        # Nearer to whom it goes towards, no nearer to whom it goes away from: of voxels so large, few change then.
        assert after > before if share > 0 else after <= before + 0.01
        assert row.split == "train"
    again = synthesise(data, None, tmp_path / "again", between=1)
    assert [row.checks for row in again if "towards" in row.name] == [row.checks for row in made]
