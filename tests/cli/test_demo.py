"""The demo from end to end, with the shipped weights."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from mics.cli.main import app

pytestmark = pytest.mark.nightly  # .ci/run runs the command itself


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = CliRunner().invoke(app, ["demo", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def read(path):
    return sitk.ReadImage(str(path))


def test_the_two_scans_differ_in_everything_that_scanners_differ_in(demo):
    fixed, moving = (read(demo[0] / "input" / f"{name}.nii.gz") for name in ("fixed", "moving"))
    assert fixed.GetSpacing() != pytest.approx(moving.GetSpacing(), rel=0.05)
    assert fixed.GetDirection() != pytest.approx(moving.GetDirection(), abs=0.5)
    assert fixed.GetOrigin() != pytest.approx(moving.GetOrigin(), abs=50)


def test_organs_come_to_overlap(demo):
    """Dice computed here, of the large organs, against that of the affine alone."""
    target = sitk.GetArrayFromImage(read(demo[0] / "input" / "fixed_labels.nii.gz"))
    warped = sitk.GetArrayFromImage(read(demo[0] / "result" / "moving_labels_warped.nii.gz"))
    summary = json.loads((demo[0] / "result" / "summary.json").read_text())
    scores = summary["labels"]["moving_to_fixed"]
    for organ in (1, 2, 3, 6, 7):
        a, b = target == organ, warped == organ
        dice = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        assert dice == pytest.approx(scores["dice"][str(organ)], abs=1e-3)
    assert scores["mean_dice"] > scores["mean_dice_affine_only"] + 0.05


def test_the_deformation_is_fit_for_use(demo):
    summary = json.loads((demo[0] / "result" / "summary.json").read_text())
    assert max(summary["folds"].values()) < 1e-3
    assert summary["inverse_consistency_mm"]["moving_to_fixed"]["mean"] < 1


def test_the_report_is_printed_and_kept_beside_the_picture(demo):
    folder, printed = demo
    report = (folder / "result" / "report.txt").read_text()
    assert report.strip() in printed
    assert "not a medical device" in report
    assert (folder / "result" / "overview.png").stat().st_size > 100_000
    assert "report.html" in printed.replace("\n", "")
