import pytest

from mics.report.summary import caption, describe


@pytest.fixture
def summary():
    scores = {
        "dice": {"1": 0.61, "6": 0.894},
        "dice_affine_only": {"1": 0.41, "6": 0.7},
        "mean_dice": 0.752,
        "mean_dice_affine_only": 0.555,
    }
    return {
        "inputs": {"fixed": {"path": "scans/a.nii.gz"}, "moving": {"path": None}},
        "settings": {"affine": "ants", "steps": 2, "refine": "fast", "device": "cpu", "model": {"name": "mics-small"}},
        "folds": {"moving_to_fixed": 0.0, "fixed_to_moving": 0.00012, "network_grid_moving_to_fixed": 0.5},
        "inverse_consistency_mm": {"moving_to_fixed": {"mean": 0.312, "max": 2.08}},
        "labels": {"moving_to_fixed": scores},
        "topology": None,
        "seconds": {"total": 34.4},
        "warnings": ["The affine mirrors the patient."],
    }


def test_lines_for_a_person(summary):
    assert describe(summary) == [
        "Mean Dice 0.56 after the affine, 0.75 after registration (labels: 2).",
        "  label     1    6",
        "  affine 0.41 0.70",
        "  result 0.61 0.89",
        "Folds: 0.012 % of the voxels; inverse-consistency error: mean 0.31 mm, at most 2.1 mm.",
        "Made with mics-small in 2 steps, refined on this pair (fast), affine ants, on cpu in 34 s.",
        "Look twice: The affine mirrors the patient.",
        "Research software, not a medical device.",
    ]


def test_caption_names_the_scans_and_the_key_figures(summary):
    first, second = caption(summary).splitlines()
    assert first.split() == ["fixed:", "a.nii.gz", "moving:", "from", "an", "array"]
    assert "0.56 after the affine, 0.75 after registration" in second
    assert "0.012 %" in second


def test_what_is_not_known_is_left_out(summary):
    summary["labels"] = None
    summary["inverse_consistency_mm"]["moving_to_fixed"] = {"mean": None, "max": None}
    summary["settings"] |= {"refine": "none", "steps": 1}
    summary["warnings"] = []
    assert describe(summary) == [
        "Folds: 0.012 % of the voxels.",
        "Made with mics-small in 1 step, not refined, affine ants, on cpu in 34 s.",
        "Research software, not a medical device.",
    ]
    assert caption(summary).splitlines()[1] == "Folds: 0.012 % of the voxels."


def test_the_certificate_of_a_preserved_topology(summary):
    kept = {"least_central": 0.2, "least_tetrahedron": 0.0123, "voxels_changed": 4301, "mean_change_mm": 0.234}
    summary["topology"] = {
        "moving_to_fixed": {**kept, "largest_change_mm": 1.67},
        "fixed_to_moving": {**kept, "least_central": 0.01, "voxels_changed": 0},
    }
    lines = describe(summary)
    start = lines.index("No fold, by central differences and in every tetrahedron:")
    assert lines[start + 1 : start + 3] == [
        "  moving to fixed: smallest J 0.012, changed at 4301 voxels by 0.23 mm on average, at most 1.7 mm",
        "  fixed to moving: smallest J 0.010, as it was",
    ]


def test_labels_without_one_in_common_have_no_overlap(summary):
    scores = {"dice": {}, "dice_affine_only": {}, "mean_dice": None, "mean_dice_affine_only": None}
    summary["labels"]["moving_to_fixed"] = scores
    assert describe(summary)[0].startswith("Folds")
