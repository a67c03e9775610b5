"""What the panel keeps, what it computes anew, and how it counts."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mics.errors import InputError
from mics.evaluation.pair_score import PairScore
from mics.experiments.baselines.baseline_result import BaselineResult
from mics.experiments.baselines.methods import Choice
from mics.image.grid import Grid
from mics.image.io import Image, read_labels, write_image

GRID = Grid((12, 12, 12), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
AFFINE = np.eye(4)
AFFINE[0, 3] = 2.0


@pytest.fixture
def panel(benchmark_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, beside which its helper lies."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    module = benchmark_script("panel")
    monkeypatch.setattr(module, "register_affine_by_organs", lambda fixed, moving: AFFINE)
    return module


@pytest.fixture
def case(panel: ModuleType) -> object:
    """Two boxes of which one is two voxels further along x than the other."""
    scans = []
    for start in (3, 5):
        labels = np.zeros(GRID.size, np.uint8)
        labels[start : start + 4, 3:9, 3:9] = 6
        scans.append(panel.Scan(Image(labels.astype(np.float32) * 10, GRID), Image(labels, GRID)))
    return panel.Case("5 mm slices", ("a", "b"), *scans)


@pytest.fixture
def calls(panel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods that ran; all but the affine shift by the right two voxels."""
    ran: list[str] = []

    def run(choice: Choice, fixed: Image, moving: Image, affine: np.ndarray) -> BaselineResult:
        ran.append(choice.method)
        forward = np.zeros((3, *GRID.size), np.float32)
        forward[0] = affine[0, 3] / 2 if choice.method == "affine" else 2
        return BaselineResult(forward, None if choice.method == "convexadam" else -forward, seconds=1.5)

    monkeypatch.setattr(panel, "run", run)
    return ran


def test_both_directions_are_measured_on_their_own_grids(
    panel: ModuleType, case: object, calls: list[str], tmp_path: Path
) -> None:
    rows = panel.measured(case, ["network"], "mics-velocity", tmp_path)
    assert [(row.fixed, row.moving, row.method) for row in rows] == [
        ("a", "b", "affine"),
        ("b", "a", "affine"),
        ("a", "b", "network"),
        ("b", "a", "network"),
    ]
    # One voxel of four is missed by the affine alone, both times.
    assert [row.dice for row in rows] == pytest.approx([0.75, 0.75, 1, 1])
    assert calls == ["affine", "network"]


def test_a_finished_cell_is_kept_until_something_it_depends_on_changes(
    panel: ModuleType, case: object, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = panel.measured(case, ["network", "fast"], "mics-velocity", tmp_path)
    assert calls == ["affine", "network", "mics"]
    assert panel.measured(case, ["network", "fast"], "mics-velocity", tmp_path) == first
    assert len(calls) == 3
    panel.measured(case, ["network", "fast"], "mics-fast", tmp_path)
    assert calls[3:] == ["network", "mics"]
    other = case.moving.labels.array.copy()
    other[:, :, 5] = 0
    moving = dataclasses.replace(case.moving, labels=Image(other, GRID))
    panel.measured(dataclasses.replace(case, moving=moving), ["network"], "mics-velocity", tmp_path)
    assert calls[5:] == ["affine", "network"]
    moved = Image(case.moving.image.array, dataclasses.replace(GRID, origin=(0.0, 0.0, 1.0)))
    moving = panel.Scan(moved, Image(case.moving.labels.array, moved.grid))
    panel.measured(dataclasses.replace(case, moving=moving), ["network"], "mics-velocity", tmp_path)
    assert calls[7:] == ["affine", "network"]
    monkeypatch.setattr(panel, "_code", lambda packages: "of another day")
    panel.measured(case, ["network"], "mics-velocity", tmp_path)
    assert calls[9:] == ["affine", "network"]
    # And all of it is still there.
    assert len(list((tmp_path / "cells" / "5-mm-slices" / "a_b").glob("network-*.json"))) == 5


def test_a_tool_without_inverse_registers_both_directions(
    panel: ModuleType, case: object, calls: list[str], tmp_path: Path
) -> None:
    rows = panel.measured(case, ["convexadam"], "mics-velocity", tmp_path)
    assert calls == ["affine", "convexadam", "convexadam"]
    assert rows[2].score.inverse_mean_mm is None


def test_a_refused_pair_is_a_failure_with_dice_zero(
    panel: ModuleType, case: object, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = panel.run

    def run(choice: Choice, *pair: object) -> BaselineResult:
        if choice.method == "network":
            raise InputError("No overlap.")
        return works(choice, *pair)

    monkeypatch.setattr(panel, "run", run)
    rows = panel.measured(case, ["network"], "mics-velocity", tmp_path)
    assert [(row.score, row.dice, row.failed) for row in rows[2:]] == [(None, 0.0, True)] * 2
    (cell,) = (tmp_path / "cells").rglob("network-*.json")
    assert json.loads(cell.read_text())["refused"] == "No overlap."
    assert "| 5 mm slices | network | 2 | 0.000 | 0.000 | – | – | – | 2 |" in panel.markdown(rows)


def score(dice: float, largest: float) -> PairScore:
    return PairScore({6: dice}, {6: 1.0}, {6: 2.0}, 0.1, 0.0001, 0.0, largest / 10, largest, None, 3.0)


def test_the_table_counts_every_condition_alike(panel: ModuleType) -> None:
    rows = [
        panel.Row("plain", "a", "b", "network", score(0.5, 2.0), 0.3, 9.0),
        panel.Row("plain", "b", "a", "network", score(0.7, 4.0), 0.3, 9.0),
        panel.Row("plain", "a", "c", "network", score(0.9, 3.0), 0.3, 9.0),
        panel.Row("plain", "a", "b", "greedy", score(0.6, 1.0), 0.3, 9.0),
        panel.Row("shifted 40 mm", "a", "b", "network", score(0.2, 1.0), 0.3, 9.0),
    ]
    lines = panel.markdown(rows).splitlines()
    # The 0.3 quantile of three values lies three fifths of the way from the first to the second.
    assert lines[2:] == [
        "| plain | network | 3 | 0.700 | 0.620 | 0.100 | 0.0100 | 0.30 (4.0) | 0 |",
        "| plain | greedy | 1 | 0.600 | 0.600 | 0.100 | 0.0100 | 0.10 (1.0) | 0 |",
        "| shifted 40 mm | network | 1 | 0.200 | 0.200 | 0.100 | 0.0100 | 0.10 (1.0) | 1 |",
        "| mean of the 2 conditions | network | 4 | 0.450 | 0.410 | 0.100 | 0.0100 | 0.20 (4.0) | 1 |",
    ]
    written = list(csv.DictReader(io.StringIO(panel.to_csv(rows))))
    assert [float(row["dice"]) for row in written] == [0.5, 0.7, 0.9, 0.6, 0.2]
    assert [row["failed"] for row in written] == ["0", "0", "0", "0", "1"]


def test_the_other_hospitals_labels_get_our_ids(panel: ModuleType, tmp_path: Path) -> None:
    theirs = np.zeros(GRID.size, np.uint8)
    theirs[0, 0, :4] = [5, 6, 52, 22]  # liver, stomach, aorta, urinary bladder
    for name in ("fixed.nii.gz", "moving.nii.gz"):
        hu = np.random.default_rng(0).normal(-100, 10, GRID.size).astype(np.float32)
        write_image(Image(hu, GRID), tmp_path / name)
    write_image(Image(theirs, GRID), tmp_path / "theirs.nii.gz")
    files = (tmp_path / name for name in ("fixed.nii.gz", "theirs.nii.gz", "moving.nii.gz", "theirs.nii.gz"))
    native = panel.native_case(*files)
    assert native.names == ("fixed", "moving")
    assert native.moving.labels.array[0, 0, :4].tolist() == [6, 7, 8, 0]
    assert np.array_equal(native.fixed.labels.array, read_labels(tmp_path / "theirs.nii.gz").array)
