"""`mics compare`: what it refuses and says; the bookkeeping is tested with the package."""

import json

import numpy as np
import pytest


@pytest.fixture
def pairs(tmp_path, make):
    labels = np.zeros((24, 22, 20), np.uint8)
    labels[8:14, 8:14, 8:14] = 6
    for name in "ab":
        make(tmp_path / f"{name}.nii.gz")
        make(tmp_path / f"{name}_labels.nii.gz", labels)
    path = tmp_path / "pairs.csv"
    header = "fixed,moving,fixed_image,moving_image,fixed_labels,moving_labels"
    path.write_text(f"{header}\na,b,a.nii.gz,b.nii.gz,a_labels.nii.gz,b_labels.nii.gz\n")
    return path


def test_it_tabulates_and_tells_what_was_skipped(run, quick, pairs, tmp_path, monkeypatch):
    """The network on two equal scans: the affine finds them, the network adds nothing."""
    monkeypatch.setenv("PATH", "")
    model = quick[quick.index("--model") + 1]
    result = run("compare", pairs, "-o", tmp_path / "out", "--methods", f"unregistered, network={model}, deeds")
    assert result.exit_code == 0, result.output
    assert "deeds is skipped" in result.stderr
    row = next(line for line in result.stdout.splitlines() if line.startswith("| MICS, network alone"))
    assert row.startswith("| MICS, network alone | 1 | 1.000 |")
    (cell,) = (tmp_path / "out" / "cells").glob("network-*/a_b.json")
    record = json.loads(cell.read_text())
    assert record["details"]["settings"]["refine"] == "none"
    assert record["score"]["seconds"] > 0


def test_an_unknown_method_is_refused(refused, pairs, tmp_path):
    assert "no method 'magic'" in refused("compare", pairs, "-o", tmp_path / "out", "--methods", "magic")
    assert not (tmp_path / "out").exists()


def test_a_list_without_images_is_refused_before_anything_runs(refused, pairs, tmp_path):
    lines = [",".join(line.split(",")[:2] + line.split(",")[4:]) for line in pairs.read_text().splitlines()]
    pairs.write_text("\n".join(lines))
    assert "no fixed_image is given" in refused("compare", pairs, "-o", tmp_path / "out", "--methods", "unregistered")
    assert not (tmp_path / "out").exists()
