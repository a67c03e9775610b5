"""The registration benchmark's bookkeeping: what is done is not done again, what failed is told, the table adds up."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "registration.py"
SHAPE = (12, 10, 10)


@pytest.fixture
def folder(tmp_path):
    """Two people, the second one's liver two voxels further along i."""
    folder = tmp_path / "AbdomenCTCT"
    training = []
    for number, start in (("0001", 2), ("0002", 4)):
        labels = np.zeros(SHAPE, np.uint8)
        labels[start : start + 4, 3:7, 3:7] = 6
        for kind, array in (("images", labels * np.int16(20) - np.int16(60)), ("labels", labels)):
            path = folder / f"{kind}Tr" / f"AbdomenCTCT_{number}_0000.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
        names = {kind: f"./{kind}sTr/AbdomenCTCT_{number}_0000.nii.gz" for kind in ("image", "label")}
        training.append(names)
    pair = {"fixed": training[0]["image"], "moving": training[1]["image"]}
    content = {"training": training, "registration_val": [pair]}
    (folder / "AbdomenCTCT_dataset.json").write_text(json.dumps(content))
    return folder


def affine_cell(fixed, moving):
    """A finished affine cell, so that the test needs no ANTs."""
    figures = ("seconds", "affine_seconds", "peak_memory_gb", "load_before", "sd_log_jacobian", "fold_share")
    figures += ("nondiffeomorphic_percent", "inverse_mean_mm", "inverse_max_mm")
    organs = {"dice": {"6": 1.0}, "hd95_voxels": {"6": 0.0}, "hd95_mm": {"6": 0.0}}
    record = {"method": "affine", "fixed": fixed, "moving": moving, "affine": np.eye(4).tolist()}
    return record | dict.fromkeys(figures, 0.0) | organs


def run(folder, output, *options):
    command = [sys.executable, SCRIPT, folder, "--output", output, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cells_are_computed_once_and_tabulated(folder, tmp_path):
    output = tmp_path / "results"
    output.mkdir()
    results = output / "results.jsonl"
    results.write_text("".join(json.dumps(affine_cell(*pair)) + "\n" for pair in (("0001", "0002"), ("0002", "0001"))))
    first = run(folder, output, "--methods", "unregistered")
    assert first.returncode == 0, first.stderr
    assert "unregistered 0001 0002\nunregistered 0002 0001\n" in first.stdout
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(r["method"], r["fixed"]) for r in records[2:]] == [("unregistered", "0001"), ("unregistered", "0002")]
    for record in records[2:]:
        assert record["dice"] == {"6": 0.5}
        assert (record["hd95_voxels"]["6"], record["hd95_mm"]["6"]) == (2, 4)
        assert (record["sd_log_jacobian"], record["fold_share"], record["inverse_max_mm"]) == (0, 0, 0)
        assert record["peak_memory_gb"] > 0
    row = next(line for line in first.stdout.splitlines() if line.startswith("| unregistered"))
    assert row.split("|")[2:7] == [" 2 ", " 0.500 ", " 0.500 ", " 2.0 ", " 4.0 "]
    assert (output / "table.md").read_text() in first.stdout

    again = run(folder, output, "--methods", "unregistered")
    assert "unregistered 0001" not in again.stdout
    assert row in again.stdout
    assert len(results.read_text().splitlines()) == 4


def test_a_failing_cell_is_told_and_the_others_go_on(folder, tmp_path):
    output = tmp_path / "results"
    output.mkdir()
    results = output / "results.jsonl"
    results.write_text("".join(json.dumps(affine_cell(*pair)) + "\n" for pair in (("0001", "0002"), ("0002", "0001"))))
    (folder / "labelsTr" / "AbdomenCTCT_0001_0000.nii.gz").write_bytes(b"no image")
    finished = run(folder, output, "--methods", "unregistered")
    assert finished.returncode == 1
    assert finished.stdout.count("failed, see") == 2
    assert "InputError" in (output / "logs" / "unregistered_0001_0002.log").read_text()


def test_an_unknown_method_is_refused(folder, tmp_path):
    finished = run(folder, tmp_path, "--methods", "magic")
    assert finished.returncode == 2
    assert "unknown methods magic" in finished.stderr
