"""The study of pseudo-labels: what is hidden is really gone, and perfect predictions score 1."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mics.data.manifest import Entry, read_manifest, write_manifest
from mics.image.grid import Grid
from mics.image.io import Image, read_labels, write_image
from mics.pseudo_labels.rank import OrganStatistics
from mics.pseudo_labels.record import CaseRecord, write_record

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pseudo_labels.py"
GRID = Grid.axis_aligned((0, 0, 0), (54, 14, 14), 2, "LAS")


@pytest.fixture
def prepared(tmp_path):
    """Four subjects for training and one for validation, each organ a box."""
    root = tmp_path / "prepared"
    root.mkdir()
    truth = np.zeros(GRID.size, np.uint8)
    for organ in range(1, 14):
        truth[2 * organ, 2:6, 2:6] = organ
    write_image(Image(truth, GRID), root / "labels.nii.gz")
    rows = [
        Entry(
            name=name,
            cohort="learn2reg",
            split="val" if name == "e" else "train",
            status="prepared",
            organs=tuple(range(1, 14)),
            image="labels.nii.gz",
            labels="labels.nii.gz",
        )
        for name in "abcde"
    ]
    write_manifest(rows, root)
    return root


def run(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly
def test_organs_are_hidden_as_cohorts_do_and_predictions_are_compared_with_them(prepared, tmp_path):
    study = tmp_path / "study"
    run("hide", prepared, study)
    hidden = {row.name: row for row in read_manifest(study / "hidden")}
    organs = {name: row.organs for name, row in hidden.items()}
    all_organs = tuple(range(1, 14))
    assert organs == {"a": all_organs, "b": (1, 3, 4, 5, 6, 7, 11), "c": (2, 3), "d": all_organs, "e": all_organs}
    assert set(np.unique(read_labels(study / "hidden" / hidden["c"].labels).array)) == {0, 2, 3}
    assert [row.name for row in read_manifest(study / "annotated")] == ["a", "d", "e"]

    truth = read_labels(prepared / "labels.nii.gz").array.astype(np.uint8)
    worse = np.where(truth == 6, np.roll(truth, 2, axis=1), truth).astype(np.uint8)  # half of c's liver
    completed = study / "completed"
    (completed / "predicted").mkdir(parents=True)
    for name, raw in (("b", truth), ("c", worse)):
        write_image(Image(raw, GRID), completed / "predicted" / f"{name}.nii.gz")
        write_image(Image(truth, GRID), completed / f"{name}.nii.gz")
        missing = set(range(1, 12)) - set(organs[name])
        statistics = {organ: OrganStatistics(volume_ml=1, centre_mm=(0, 0, 0), predicted=True) for organ in missing}
        write_record(completed, name, CaseRecord(key="", organs=statistics))
    rows = [hidden[name].model_copy(update={"labels": f"{name}.nii.gz"}) for name in "bc"]
    write_manifest(rows, completed)
    table = run("score", prepared, study)
    assert "| liver | 1 | 0.667 | 1.000 |" in table
    assert "| aorta | 2 | 1.000 | 1.000 |" in table
    assert "pancreas | 1 |" in table
    assert "adrenal" not in table
