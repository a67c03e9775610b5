import csv
import json

import numpy as np
import pytest

from mics import Transform
from mics.image.io import read_image, read_labels


@pytest.fixture
def group(tmp_path, make):
    """Three bodies of different size and place, with labels."""
    folder = tmp_path / "group"
    folder.mkdir()
    for name, spacing, centre in (("a", 10.0, 0.0), ("b", 11.0, 15.0), ("c", 9.0, -15.0)):
        make(folder / f"{name}.nii.gz", spacing=spacing, centre=centre)
        labels = (make.body() > 0).astype(np.uint8)
        make(folder / f"{name}_labels.nii.gz", labels, spacing=spacing, centre=centre)
    return folder


@pytest.mark.nightly
def test_the_average_of_a_group_lies_in_its_middle(tmp_path, group, quick, run):
    out = tmp_path / "out"
    command = ["template", group, "-o", out, "--rounds", 1, "--spacing-mm", 10, *quick[2:]]
    first = run(*command)
    assert first.exit_code == 0, first.output
    assert "give more rounds" in " ".join(first.output.split())
    average, labels = read_image(out / "template.nii.gz"), read_labels(out / "labels.nii.gz")
    size = np.count_nonzero(labels.array) * np.prod(labels.grid.spacing)
    sizes = [
        np.count_nonzero(read_labels(group / f"{n}_labels.nii.gz").array) * s**3
        for n, s in zip("abc", (10, 11, 9), strict=True)
    ]
    np.testing.assert_allclose(size, np.mean(sizes), rtol=0.08)
    middle = average.grid.voxel_to_world(np.argwhere(labels.array > 0).mean(axis=0))
    np.testing.assert_allclose(middle, 0, atol=3)

    forward = [Transform.load(out / "members" / name / "transform_member_to_template.nii.gz") for name in "abc"]
    inner = (slice(3, -3),) * 3
    mean = np.mean([transform.displacement_mm for transform in forward], axis=0)[inner]
    assert np.linalg.norm(mean, axis=-1).max() < 0.5
    backward = [Transform.load(out / "members" / name / "transform_template_to_member.nii.gz") for name in "abc"]
    points = average.grid.voxel_to_world(np.argwhere(labels.array > 0)[::50])
    for to_template, to_member in zip(forward, backward, strict=True):
        returned = to_member.transform_points(to_template.transform_points(points))
        assert np.linalg.norm(returned - points, axis=1).mean() < 2

    with (out / "convergence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["0", "1"]
    assert max(float(row["bias_mm"]) for row in rows) < 0.3
    assert float(rows[0]["dice"]) > 0.85
    log_jacobian = [read_image(out / f"{kind}_log_jacobian.nii.gz").array for kind in ("mean", "sd")]
    inside = labels.array > 0
    # From the middle size to one as large, 1.1 and 0.9 times: mean and standard deviation of 3 log.
    expected = 3 * np.log([1, 1.1, 0.9])
    np.testing.assert_allclose(np.median(log_jacobian[0][inside]), expected.mean(), atol=0.1)
    np.testing.assert_allclose(np.median(log_jacobian[1][inside]), expected.std(ddof=1), atol=0.1)

    template = (out / "template.nii.gz").read_bytes()
    record = out / "rounds" / "01" / "round.json"
    made = record.stat().st_mtime_ns
    again = run(*command, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == {"folder": str(out), **json.loads((out / "summary.json").read_text())}
    assert record.stat().st_mtime_ns == made
    assert (out / "template.nii.gz").read_bytes() == template
    assert json.loads((out / "summary.json").read_text())["verdict"]["word"] == "look"


def test_what_cannot_be_used_is_told_before_the_work(tmp_path, group, run):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for options, message in (
        ([group, "--rounds", 0], "--rounds is a whole number from 1 to 99"),
        ([group, "--start", "d"], "--start is the name of one of the scans, a, b, c"),
        ([group, "--spacing-mm", 0.1], "--spacing-mm is from 0.5 to 20"),
        ([tmp_path / "empty"], "no scans in a layout that is known"),
    ):
        result = run("template", *options, "-o", out)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
        assert not out.exists()


@pytest.mark.slow
def test_labels_of_another_numbering_none_or_another_grid_and_a_scan_twice_are_told(tmp_path, make, quick, run):
    folder = tmp_path / "group"
    folder.mkdir()
    for place, name in enumerate("abcd"):
        hu = np.roll(make.body(), place % 3, axis=0)  # d is a
        make(folder / f"{name}.nii.gz", hu)
        values = {"a": 3, "b": 3, "c": 7, "d": 0}[name]
        make(folder / f"{name}_labels.nii.gz", ((hu > 0) * values).astype(np.uint8))
    make(folder / "e.nii.gz", np.roll(make.body(), 1, axis=1))
    make(folder / "e_labels.nii.gz", np.ones((24, 22, 18), np.uint8))
    done = run("template", folder, "-o", tmp_path / "out", "--rounds", 1, "--spacing-mm", 10, *quick[2:])
    assert done.exit_code == 0, done.output
    reasons = json.loads((tmp_path / "out" / "summary.json").read_text())["verdict"]["reasons"]
    for sentence in (
        "a and d are the same scan, voxel by voxel, which so counts twice: leave one of them out.",
        "c shows none of the labels that the others agree on: does it use the same numbering?",
        "The label map of d is empty, so that it votes for background.",
    ):
        assert sentence in reasons
    assert any(
        "e is left out: The label map of e is on another grid than its scan (24 × 22 × 18" in one for one in reasons
    )
