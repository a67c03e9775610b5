"""A submission: the published pairs of the subjects that are there, in the challenge's files; it goes on where it stopped."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from mics.data.cohorts.learn2reg import DATASET_FILE, open_learn2reg
from mics.data.pairs import read_pairs
from mics.errors import InputError
from mics.evaluation.evaluate import evaluate
from mics.experiments.phantom_data import write_phantoms
from mics.experiments.submit import submit

QUICK = {"model": "mics-small", "affine": "none", "refine": "none", "device": "cpu"}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Four subjects, three of them as test subjects too, of whom two of today's pairs are made."""
    folder = write_phantoms(tmp_path_factory.mktemp("release"), spacing_mm=8.0)
    content = json.loads((folder / DATASET_FILE).read_text())
    (folder / "imagesTs").mkdir()
    for number, subject in (("0031", "0001"), ("0032", "0002"), ("0036", "0003")):
        name = f"imagesTs/AbdomenCTCT_{number}_0000.nii.gz"
        shutil.copy(folder / "imagesTr" / f"AbdomenCTCT_{subject}_0000.nii.gz", folder / name)
        content.setdefault("test", []).append(name)
    (folder / DATASET_FILE).write_text(json.dumps(content))
    return folder


def test_the_published_pairs_of_the_subjects_that_are_there(release):
    assert open_learn2reg(release).test_pairs == [("0031", "0032"), ("0031", "0036")]
    assert [pair.name for pair in read_pairs(release, which="test")] == ["0031_0032", "0031_0036"]


@pytest.mark.nightly
def test_a_submission_goes_on_and_scores_as_its_pairs_do(release, tmp_path):
    packed = submit(release, tmp_path / "out", **QUICK)
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == ["disp_0031_0000_0032_0000.nii.gz", "disp_0031_0000_0036_0000.nii.gz"]
    files = sorted((tmp_path / "out" / "displacements").iterdir())
    files[1].unlink()
    before, content = files[0].stat().st_mtime_ns, packed.read_bytes()
    assert submit(release, tmp_path / "out", **QUICK) == packed
    assert files[0].stat().st_mtime_ns == before
    assert [len(content) == len(packed.read_bytes()), files[1].is_file()] == [True, True]
    labels = {"0031": "0001", "0032": "0002", "0036": "0003"}
    rows = [
        [fixed, moving, *(release / f"labelsTr/AbdomenCTCT_{labels[n]}_0000.nii.gz" for n in (fixed, moving))]
        for fixed, moving in (("0031", "0032"), ("0031", "0036"))
    ]
    lines = ["fixed,moving,fixed_labels,moving_labels", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    summary = evaluate(packed, tmp_path / "pairs.csv").summary
    assert np.isfinite(summary.ratio.value)
    assert summary.ratio.value < 1  # nearer than before
    with pytest.raises(InputError, match="other settings"):
        submit(release, tmp_path / "out", **{**QUICK, "steps": 1})


def test_what_has_no_test_subjects_is_refused_before_anything_is_written(tmp_path):
    bare = write_phantoms(tmp_path / "bare")
    with pytest.raises(InputError, match="imagesTs"):
        submit(bare, tmp_path / "out", **QUICK)
    with pytest.raises(InputError, match="is no folder"):
        submit(tmp_path / "pairs.csv", tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()
