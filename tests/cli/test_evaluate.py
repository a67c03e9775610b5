"""`mics evaluate` on small files: what it writes, and that bad input leaves nothing behind."""

import json

import nibabel
import numpy as np
import pytest

from mics.evaluation.learn2reg import displacement_name, write_displacement


@pytest.fixture
def pairs(tmp_path, make):
    labels = np.zeros((12, 10, 10), np.uint8)
    labels[2:6, 3:7, 3:7] = 6
    for name, shift in (("a", 0), ("b", 2)):
        make(tmp_path / f"{name}.nii.gz", np.roll(labels, shift, axis=0), spacing=2.0)
    path = tmp_path / "pairs.csv"
    path.write_text("fixed,moving,fixed_labels,moving_labels\na,b,a.nii.gz,b.nii.gz\n")
    return path


@pytest.fixture
def submission(tmp_path):
    displacement = np.zeros((3, 12, 10, 10), np.float32)
    displacement[0] = 2
    folder = tmp_path / "submission"
    folder.mkdir()
    write_displacement(displacement, folder / displacement_name("a", "b"))
    return folder


def test_it_writes_tables_and_prints_the_summary(run, pairs, submission, tmp_path):
    result = run(
        "evaluate", submission, pairs, "-o", tmp_path / "out", "--against", submission, "--export", tmp_path / "s.zip"
    )
    assert result.exit_code == 0, result.output
    assert "| Dice | 1.000 |" in result.stdout
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["differences"]["dice"]["p"] == 1
    assert (tmp_path / "s.zip").is_file()


def test_names_of_labels(run, refused, pairs, submission, tmp_path):
    names = tmp_path / "names.json"
    names.write_text('{"6": "Leber"}')
    result = run("evaluate", submission, pairs, "-o", tmp_path / "out", "--label-names", names)
    assert "| Leber | 1 |" in result.stdout
    names.write_text("[]")
    message = refused("evaluate", submission, pairs, "-o", tmp_path / "other", "--label-names", names)
    assert "not a list of label names" in message
    assert not (tmp_path / "other").exists()


def test_a_submission_that_does_not_fit_leaves_nothing(refused, pairs, submission, tmp_path):
    file = next(submission.iterdir())
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 5, 3), np.float32), np.eye(4)), file)
    assert "half the resolution" in refused("evaluate", submission, pairs, "-o", tmp_path / "out")
    file.unlink()
    assert "lacks the only pair" in refused("evaluate", submission, pairs, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_register_wrote_for_learn2reg_files_is_scored_on_the_learn2reg_folder(run, make, quick, tmp_path):
    """The command takes the files' mirrored headers at their word, the folder's adapter puts them right."""
    folder = tmp_path / "AbdomenCTCT"
    training = []
    for number, shift in (("0001", 0), ("0002", 2)):
        labels = np.zeros((24, 22, 20), np.uint8)
        labels[4 + shift : 10 + shift, 6:14, 6:14] = 6
        for kind, array in (("images", make.body()), ("labels", labels)):
            path = folder / f"{kind}Tr" / f"AbdomenCTCT_{number}_0000.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.diag([10.0, 10.0, 10.0, 1.0])), path)
        names = {kind: f"./{kind}sTr/AbdomenCTCT_{number}_0000.nii.gz" for kind in ("image", "label")}
        training.append(names)
    pair = {"fixed": training[0]["image"], "moving": training[1]["image"]}
    content = {"training": training, "registration_val": [pair]}
    (folder / "AbdomenCTCT_dataset.json").write_text(json.dumps(content))

    scans = [folder / case["image"] for case in training]
    registered = run("register", *scans, "-o", tmp_path / "results" / "0001_0002", *quick)
    assert registered.exit_code == 0, registered.output
    result = run("evaluate", tmp_path / "results", folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (score,) = json.loads((tmp_path / "out" / "summary.json").read_text())["pairs"]
    assert "| liver | 1 |" in result.stdout  # the folder says whose numbers they are
    # Equal scans, so the network delivers the identity: the livers, 6 long, lie 2 voxels apart.
    assert score["dice"]["6"] == pytest.approx(2 * 4 / 12)
    assert score["inverse_max_mm"] < 0.1
    assert score["seconds"] > 0


def test_an_export_among_the_tables_is_refused(refused, tmp_path):
    out = tmp_path / "out"
    sentence = refused("evaluate", tmp_path, tmp_path / "pairs.csv", "-o", out, "--export", out / "submission.zip")
    assert sentence == "Error: --export lies in the folder of the tables: name another place for it."
    assert not out.exists()
