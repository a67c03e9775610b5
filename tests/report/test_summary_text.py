import pytest

from mics.report.sections import figures
from mics.report.summary_text import TG132, caption, describe
from mics.run_summary import RunSummary


@pytest.fixture
def summary(full_summary):
    scores = {
        "dice": {"1": 0.61, "6": 0.894},
        "dice_affine_only": {"1": 0.41, "6": 0.7},
        "hd95_mm": {"1": 9.96, "6": 12.2},
        "hd95_mm_affine_only": {"1": 20.0, "6": None},
        "mda_mm": {"1": 2.04, "6": 2.3},
        "mda_mm_affine_only": {"1": 6.0, "6": None},
        "mean_dice": 0.752,
        "mean_dice_affine_only": 0.555,
        "worst_label": "1",
    }
    full_summary["inputs"]["fixed"]["path"], full_summary["inputs"]["moving"]["path"] = "scans/a.nii.gz", None
    model = {"name": "mics-small", "sha256": "0123abcd", "spacing_mm": 8.0}
    full_summary["settings"] |= {"affine": "ants", "steps": 2, "refine": "fast", "device": "cpu", "model": model}
    full_summary["folds"] |= {"moving_to_fixed": 0.0, "fixed_to_moving": 0.00012}
    return {
        **full_summary,
        "verdict": {"word": "look", "reasons": ["The affine mirrors the patient."]},
        "jacobian": {"moving_to_fixed": {"min": 0.2, "max": 2.5}, "fixed_to_moving": {"min": -0.104, "max": 2.2}},
        "inverse_consistency_mm": {
            "moving_to_fixed": {"mean": 0.312, "max": 1.84},
            "fixed_to_moving": {"mean": 0.287, "max": 3.24},
        },
        "labels": {"moving_to_fixed": scores, "fixed_to_moving": scores},
        "label_names": {"6": "liver"},
        "landmarks": None,
        "topology": None,
        "seconds": {"total": 34.4},
        "warnings": ["Both scans show the liver on the patient's left."],
    }


def lines_of(summary):
    return describe(RunSummary.model_validate(summary))


def test_lines_to_read(summary):
    assert lines_of(summary) == [
        "Verdict: look at the picture before you use this.",
        "- The affine mirrors the patient.",
        "Mean Dice 0.56 after the affine, 0.75 after registration (labels: 2).",
        "                  Dice       HD95, mm        MDA, mm",
        "  label 1  0.41 → 0.61   20.0 →  10.0    6.0 →   2.0",
        "  6 liver  0.70 → 0.89   lost →  12.2   lost →   2.3",
        "Worst: label 1, Dice 0.61, HD95 10.0 mm, MDA 2.0 mm.",
        "Folds: 0.012 % of the voxels; Jacobian -0.10 to 2.50; inverse-consistency error: mean 0.31 mm, at most 3.2 mm.",
        TG132,
        "Made with mics-small in 2 steps, refined on this pair (fast), affine ants, on cpu in 34 s.",
        "Look twice: Both scans show the liver on the patient's left.",
        "Research software, not a medical device.",
    ]


def test_caption_names_the_scans_and_the_key_figures(summary):
    summary["verdict"]["reasons"].append("word " * 40)
    first, second, verdict, *reasons = caption(RunSummary.model_validate(summary)).splitlines()
    assert first.split() == ["fixed:", "a.nii.gz", "moving:", "from", "an", "array"]
    assert "0.56 after the affine, 0.75 after registration" in second
    assert "0.012 %" in second
    assert verdict == "Verdict: look at the picture before you use this."
    assert reasons[0] == "- The affine mirrors the patient."
    assert len(reasons) == 4  # the long one on two lines
    assert reasons[3].startswith("Look twice: Both scans show the liver")


def test_what_is_not_known_is_left_out(summary):
    summary["labels"] = None
    for direction in ("moving_to_fixed", "fixed_to_moving"):
        summary["inverse_consistency_mm"][direction] = {"mean": None, "max": None}
    summary["settings"] |= {"refine": "none", "steps": 1}
    summary["warnings"] = []
    summary["verdict"] = {"word": "good", "reasons": []}
    assert lines_of(summary) == [
        "Verdict: good. Nothing that was looked at speaks against it.",
        "Folds: 0.012 % of the voxels; Jacobian -0.10 to 2.50.",
        "Made with mics-small in 1 step, not refined, affine ants, on cpu in 34 s.",
        "Research software, not a medical device.",
    ]
    assert (
        caption(RunSummary.model_validate(summary)).splitlines()[1]
        == "Folds: 0.012 % of the voxels; Jacobian -0.10 to 2.50."
    )


@pytest.mark.parametrize(
    ("share", "message"),
    [(0.0, "0.000 %"), (4e-9, "<0.001 %"), (4.9e-6, "<0.001 %"), (6e-6, "0.001 %"), (0.5, "50.000 %")],
)
def test_a_few_folds_do_not_read_as_none(summary, share, message):
    summary["folds"] |= {"moving_to_fixed": share, "fixed_to_moving": 0.0}
    (line,) = (line for line in lines_of(summary) if line.startswith("Folds"))
    assert line.startswith(f"Folds: {message} of the voxels;")
    assert f"<dd>{message.replace('<', '&lt;')}</dd>" in figures(RunSummary.model_validate(summary))


def test_the_certificate_of_a_preserved_topology(summary):
    kept = {"least_central": 0.2, "least_tetrahedron": 0.0123, "voxels_changed": 4301, "mean_change_mm": 0.234}
    summary["topology"] = {
        "moving_to_fixed": {**kept, "largest_change_mm": 1.67},
        "fixed_to_moving": {**kept, "least_central": 0.01, "voxels_changed": 0, "largest_change_mm": 0.0},
    }
    lines = lines_of(summary)
    start = lines.index("No fold, by central differences and in every tetrahedron:")
    assert lines[start + 1 : start + 3] == [
        "  moving to fixed: smallest J 0.012, changed at 4301 voxels by 0.23 mm on average, at most 1.7 mm",
        "  fixed to moving: smallest J 0.010, as it was",
    ]


def test_labels_without_one_in_common_have_no_overlap(summary):
    scores = {"dice": {}, "dice_affine_only": {}, "hd95_mm": {}, "mean_dice": None, "mean_dice_affine_only": None}
    summary["labels"]["moving_to_fixed"] = scores
    assert lines_of(summary)[2].startswith("Folds")


def test_of_many_labels_the_worst_are_shown(summary):
    scores = summary["labels"]["moving_to_fixed"]
    dice = {str(label): label / 100 for label in range(1, 61)}
    scores |= {f"{measure}{when}": dice for measure in ("dice", "hd95_mm", "mda_mm") for when in ("", "_affine_only")}
    lines = lines_of(summary)
    rows = [line.split()[1] for line in lines if line.startswith("  label")]
    assert rows == [str(label) for label in range(1, 21) if label != 6] == sorted(rows, key=int)
    assert "  40 labels with a larger Dice: see summary.json" in lines


def test_a_lost_organ_is_the_worst(summary):
    scores = summary["labels"]["moving_to_fixed"]
    scores["dice"]["6"], scores["hd95_mm"]["6"], scores["mda_mm"]["6"], scores["worst_label"] = 0.0, None, None, "6"
    assert "Worst: liver, Dice 0.00, out of view." in lines_of(summary)


def test_landmarks_have_their_error_before_and_after(summary):
    summary["labels"] = None
    errors = {"tre_mm": {"mean": 1.96, "max": 4.0}, "tre_mm_affine_only": {"mean": 7.5, "max": 12.25}}
    summary["landmarks"] = {"count": 12, **errors}
    lines = lines_of(summary)
    assert lines[2] == "TRE of 12 landmarks: mean 7.5 → 2.0 mm, largest 12.2 → 4.0 mm."
    assert TG132 in lines


def test_one_patient_is_registered_from_rest(summary):
    summary["settings"] |= {"model": None, "same_patient": True}
    assert "Made from rest, refined on this pair (fast) as one patient's, affine ants, on cpu in 34 s." in lines_of(
        summary
    )


def test_a_summary_of_before_the_schema_is_described(summary):
    for key in ("verdict", "jacobian", "landmarks", "label_names", "evidence", "topology"):
        del summary[key]
    for key in ("mda_mm", "mda_mm_affine_only", "hd95_mm_affine_only", "worst_label"):
        del summary["labels"]["moving_to_fixed"][key]
    assert lines_of(summary) == [
        "Mean Dice 0.56 after the affine, 0.75 after registration (labels: 2).",
        "                  Dice",
        "  label 1  0.41 → 0.61",
        "  label 6  0.70 → 0.89",
        "Folds: 0.012 % of the voxels; inverse-consistency error: mean 0.31 mm, at most 3.2 mm.",
        TG132,
        "Made with mics-small in 2 steps, refined on this pair (fast), affine ants, on cpu in 34 s.",
        "Look twice: Both scans show the liver on the patient's left.",
        "Research software, not a medical device.",
    ]
