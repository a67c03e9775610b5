import copy
import re

import pytest

from mics.registration.verdict import VerdictInputs, judge

GOOD = {
    "evidence": {
        "organs": {
            "liver": {
                "moving_ml": 1500.0,
                "fixed_ml": 1600.0,
                "dice_affine": 0.6,
                "dice_result": 0.9,
                "volume_ratio": 1.1,
            }
        },
        "organ_overlap": {"affine": 0.5, "result": 0.85},
        "certainty": {"moving": 0.92, "fixed": 0.93},
        "large_organs": {"moving": 6, "fixed": 6},
        "tissue_peaks_hu": {"moving": {"fat": -102.5, "soft": 47.5}, "fixed": None},
        "tissue_shares": {"moving": {"fat": 0.4, "dense": 0.1}, "fixed": {"fat": 0.5, "dense": 0.05}},
        "similarity": {"affine": 0.5, "result": 0.75},
        "body_without_data": {"moving_to_fixed": 0.01, "fixed_to_moving": 0.0},
        "disorder": {"moving": [], "fixed": []},
        "deformation": {"percentile_99_mm": 40.0, "sd_log_jacobian": 0.4},
    },
    "inverse_consistency_mm": {
        "moving_to_fixed": {"mean": 0.1, "max": 1.0},
        "fixed_to_moving": {"mean": 0.1, "max": 2.0},
    },
    "labels": None,
}


def scores(before, after):
    one = {
        "dice": {"1": after},
        "hd95_mm": {},
        "mean_dice": after,
        "dice_affine_only": {"1": before},
        "mean_dice_affine_only": before,
    }
    return {"moving_to_fixed": one, "fixed_to_moving": one}


def changed(path, value):
    """The good summary with one value replaced."""
    summary = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    place = summary
    for name in parents:
        place = place[name]
    place[last] = value
    return summary


def judged(known, warnings=()):
    return judge(VerdictInputs.model_validate(known), warnings)


def test_where_nothing_speaks_against_it_it_is_good_without_reasons():
    assert judged(GOOD) == judged(changed("labels", scores(0.4, 0.7)))
    assert judged(GOOD).word == "good"
    assert judged(GOOD).reasons == ()


def test_given_labels_speak_against_it_in_the_worse_direction_whichever_scan_is_fixed():
    better = scores(0.5, 0.7)["moving_to_fixed"]
    for worse, word, message in (
        (scores(0.5, 0.4), "look", "by 0.40 .* 0.50"),
        (scores(0.15, 0.1), "failed", "by 0.10"),
    ):
        for moving_to_fixed, fixed_to_moving in (
            (better, worse["moving_to_fixed"]),
            (worse["moving_to_fixed"], better),
        ):
            both = {"moving_to_fixed": moving_to_fixed, "fixed_to_moving": fixed_to_moving}
            verdict = judged(changed("labels", both))
            assert verdict.word == word
            assert re.search(message, " ".join(verdict.reasons))


@pytest.mark.parametrize(
    ("path", "value", "word", "message"),
    [
        (
            "evidence/organ_overlap",
            {"affine": 0.1, "result": 0.05},
            "failed",
            "overlap by 0.05 .* by 0.10 with the affine",
        ),
        ("evidence/organ_overlap", {"affine": 0.4, "result": 0.7}, "look", "overlap by 0.70"),
        ("evidence/organ_overlap", {"affine": None, "result": None}, "look", "No organ"),
        ("evidence/large_organs/moving", 1, "look", "moving scan only 1 of six"),
        ("evidence/large_organs/fixed", 2, "look", "fixed scan only 2 of six"),
        ("evidence/similarity/result", 0.1, "failed", "correlation 0.10"),
        ("evidence/similarity/result", None, "look", "no tissue that both scans show"),
        (
            "evidence/body_without_data/moving_to_fixed",
            0.786,
            "failed",
            "79% of the body in the fixed scan .* the moving",
        ),
        ("evidence/body_without_data/fixed_to_moving", 0.3, "look", "30% of the body in the moving scan .* the fixed"),
        ("evidence/disorder/moving", ["the liver below the right kidney"], "failed", "moving scan .* liver below"),
        ("evidence/organs/liver/dice_result", 0.1, "look", r"liver of one scan .*Dice 0\.10"),
        ("evidence/organs/liver/volume_ratio", 5.0, "look", r"liver has 5\.0 times its volume"),
        ("evidence/organs/liver/volume_ratio", 0.2, "look", r"liver has 1/5\.0 of its volume"),
        ("evidence/organs/liver/volume_ratio", 0.0, "look", "liver has none of its volume"),
        ("evidence/tissue_shares/moving/fat", 0.02, "look", "moving scan 2% has the values of fat"),
        (
            "evidence/tissue_peaks_hu/moving/fat",
            -47.5,
            "look",
            "moving scan fat has values near -48 and soft tissue near 48",
        ),
        ("evidence/tissue_peaks_hu/moving/fat", -152.5, "look", "moving scan fat has values near -152"),
        ("evidence/tissue_shares/fixed/dense", 0.5, "look", "fixed scan 50% has values above 140"),
        ("evidence/certainty/fixed", 0.6, "look", "unsure of the organs in the fixed scan"),
        ("evidence/deformation/sd_log_jacobian", 1.2, "look", "SdLogJ 1.20"),
        ("inverse_consistency_mm/fixed_to_moving/max", 14.0, "look", r"up to 14\.0 mm"),
        ("labels", scores(0.15, 0.1), "failed", "labels overlap by 0.10 .* 0.15"),
        ("labels", scores(0.5, 0.4), "look", "labels overlap by 0.40 .* 0.50"),
        ("labels", scores(0.05, 0.1), "look", "labels overlap by 0.10"),
        ("evidence", None, "look", "No organs were looked for"),
    ],
)
def test_each_thing_that_speaks_against_it_is_said(path, value, word, message):
    verdict = judged(changed(path, value))
    assert verdict.word == word
    assert len(verdict.reasons) == 1
    assert re.search(message, verdict.reasons[0])


def test_a_warning_asks_for_a_look_and_comes_after_what_failed():
    assert judged(GOOD, ["The affine mirrors the patient."]).word == "look"
    verdict = judged(changed("evidence/similarity/result", 0.1), ["The affine mirrors the patient."])
    assert verdict.word == "failed"
    assert verdict.reasons[-1] == "The affine mirrors the patient."


def test_causes_are_said_first():
    verdict = judged(changed("evidence/similarity/result", 0.1)).because(["The header is turned."])
    assert verdict.word == "failed"
    assert verdict.reasons[0] == "The header is turned."
