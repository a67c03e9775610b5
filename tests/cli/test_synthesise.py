"""`mics synthesise` on generated subjects: what reaches the user, and what is refused."""

import nibabel
import numpy as np
import pytest


@pytest.fixture
def labels(publishers, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    array = publishers.subject("l2r", 50, 16.0, "LAS").labels.array
    nibabel.save(nibabel.Nifti1Image(array, np.diag([16.0, 16, 16, 1])), folder / "label0050.nii.gz")
    return folder


@pytest.mark.nightly
def test_a_subject_is_synthesised_and_a_bad_label_map_told(run, publishers, labels, tmp_path):
    data = publishers.learn2reg(tmp_path / "learn2reg", 3, 16.0)
    (labels / "other.nii.gz").write_bytes(b"no label map")
    result = run("synthesise", data, labels, "-o", tmp_path / "out", "--source-cases", 1)
    assert result.exit_code == 2
    assert "prepared learn2reg_0001_as_0050: mean Dice 0." in result.stdout
    assert "1 subject synthesised in" in result.stdout
    assert "1 case could not be prepared (synthesised_other:" in result.stderr
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_bad_arguments_are_refused_and_nothing_is_written(refused, labels, tmp_path):
    out = tmp_path / "out"
    assert "is not a folder" in refused("synthesise", tmp_path / "nowhere", labels, "-o", out)
    assert "holds no label map" in refused("synthesise", tmp_path, tmp_path / "nowhere", "-o", out)
    assert not out.exists()
