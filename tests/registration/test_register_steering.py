"""`register` led by labels and landmarks, and on two scans of one patient: what comes out, and what the summary says of it."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points, write_points
from mics.network.weights import load_model
from mics.registration import settings
from mics.registration.findings import unmet_landmarks
from mics.registration.pair import Pair
from mics.registration.register import register
from mics.registration.repeat import repeat
from mics.registration.steering import Steering
from mics.report.summary_text import describe
from mics.run_summary import RunSummary, read_summary

GRID = Grid((40, 32, 20), (5, 5, 7), (-97.5, -77.5, -66.5))
POINTS = GRID.points().astype(float)
NAMES = {3: "mass", 8: "cyst"}
MAP = Image(np.zeros(GRID.size, np.uint8), GRID)
LESION = Image(np.pad(np.ones((2, 2, 2), np.uint8), [(9, length - 11) for length in GRID.size]), GRID)


@pytest.fixture(scope="module")
def run(scans, tiny_model, tiny_segmentation):
    """`register` with networks that know nothing."""
    models = pytest.MonkeyPatch()
    models.setattr(
        settings, "load_model_for", lambda _, name: load_model(tiny_segmentation if name == "organs-small" else name)
    )
    default = {"affine": "none", "model": tiny_model}
    yield lambda **more: register(scans.fixed, scans.moving, device="cpu", **{**default, **more})
    models.undo()


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landmarks")
    places = np.array([[-35.0, 0, 0], [35, 10, 20], [-35, 18, 0], [0, -40, 10]])
    for role, shift in (("fixed", 0), ("moving", [[10, 0, 0], [10, 0, 0], [9, 2, 0], [0, 0, 0]])):
        write_points(Points(places + shift, ("",) * 4), folder / f"{role}.csv")
    return {f"{role}_landmarks": folder / f"{role}.csv" for role in ("fixed", "moving")}


def test_a_label_that_steers_is_followed_and_does_not_judge(run, scans):
    """Without steering it comes to .89."""
    led = run(**scans.labels, label_names=NAMES, steer=["mass"]).summary
    assert led["labels"]["moving_to_fixed"]["dice"]["3"] > 0.92
    assert led["steering"] == {"labels": {"ids": [3], "weight": 1.0}, "landmarks": None}
    lines = describe(RunSummary.model_validate(led))
    assert any("labels that did not steer: 1)" in line for line in lines)
    assert [
        line.endswith("steered") for line in lines if line.startswith("  3 mass") or line.startswith("  8 cyst")
    ] == [True, False]


def test_landmarks_are_met_to_the_tolerance_by_what_is_delivered(run, landmarks):
    led = run(**landmarks, steer="landmarks", landmark_tolerance_mm=1.0)
    assert led.summary["landmarks"]["tre_mm"]["max"] <= 1.0
    assert led.summary["folds"]["moving_to_fixed"] == led.summary["folds"]["fixed_to_moving"] == 0
    assert led.summary["steering"]["landmarks"] == {"count": 4, "weight_per_mm": 0.002, "tolerance_mm": 1.0}
    assert any("They steered, so it judges nothing." in line for line in describe(led.run_summary))
    assert not any("Not all of the" in reason for reason in led.summary["verdict"]["reasons"])


@pytest.mark.parametrize("exchanged", [False, True])
def test_landmarks_that_one_of_the_transforms_misses_are_told_whichever_scan_is_fixed(exchanged):
    still, off = (Transform(np.full((*GRID.size, 3), mm, np.float32), GRID) for mm in (0.0, 3.0))
    forward, backward = (off, still) if exchanged else (still, off)
    result = SimpleNamespace(moving_to_fixed=forward, fixed_to_moving=backward)
    places = Points(np.array([[-35.0, 0, 0], [35, 10, 20]]), ("", ""))
    for tolerance, told in ((5.3, []), (5.0, ["5.20"])):
        steering = Steering(landmarks=Pair(fixed=places, moving=places), tolerance_mm=tolerance)
        messages = unmet_landmarks(result, (places, places), steering)
        assert len(messages) == len(told)
        assert all(mm in message for mm, message in zip(told, messages, strict=True))


@pytest.mark.nightly
def test_landmarks_that_cannot_be_met_are_told(run, tmp_path):
    places = np.array([[-35.0, 0, 0], [-34, 0, 0]])
    write_points(Points(places, ("", "")), tmp_path / "fixed.csv")
    write_points(Points(places[::-1] + [[15.0, 0, 0], [-15, 0, 0]], ("", "")), tmp_path / "moving.csv")
    given = {f"{role}_landmarks": tmp_path / f"{role}.csv" for role in ("fixed", "moving")}
    led = run(**given, steer="landmarks", landmark_tolerance_mm=1.0).summary
    assert led["verdict"]["word"] != "good"
    assert any("Not all of the 2 landmarks" in reason for reason in led["verdict"]["reasons"])
    assert led["folds"]["moving_to_fixed"] == 0


def test_one_patients_scans_lie_rigidly_and_their_lesions_are_followed(run, tmp_path):
    grown = Image((np.linalg.norm(POINTS - (-35, 0, 0), axis=-1) < 14).astype(np.uint8), GRID)
    lesion = Image((np.linalg.norm(POINTS - (-25, 0, 0), axis=-1) < 10.1).astype(np.uint8), GRID)
    result = run(same_patient=True, affine="ants", fixed_lesions=grown, moving_lesions=lesion)
    linear = result.affine[:3, :3]
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-4)
    assert "network" not in result.summary["seconds"]  # which moves what rests
    row = result.summary["lesions"]["1"]
    assert row["moving_ml"] == pytest.approx(lesion.array.sum() * 0.175)
    assert row["growth"] == pytest.approx(grown.array.sum() / lesion.array.sum(), abs=1e-3)
    assert any(
        line.startswith(f"  1: {row['moving_ml']:.2f} ml → {row['fixed_ml']:.2f} ml")
        for line in describe(result.run_summary)
    )
    result.save(tmp_path / "out")
    (written,) = csv.DictReader((tmp_path / "out" / "lesions.csv").read_text().splitlines())
    assert float(written["jacobian"]) == row["jacobian"]


def test_no_network_predicts_between_scans_of_one_patient(run, scans, tiny_model, tmp_path):
    """Its weights are not even read, and neither the summary nor the report names it."""
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(b"no weights")
    shutil.copy(tiny_model.with_suffix(".json"), bare.with_suffix(".json"))
    first = run(same_patient=True, model=bare)
    assert first.summary["settings"]["model"] is None
    assert not any("bare" in line for line in describe(first.run_summary))
    # Summaries that were written before this named the model all the same.
    settings = {**first.summary["settings"], "model": {"name": "mics-small", "sha256": "0" * 64, "spacing_mm": 8.0}}
    summary = tmp_path / "before.json"
    summary.write_text(json.dumps({**first.summary, "settings": settings}))
    again = repeat(summary, scans.fixed, scans.moving)
    np.testing.assert_array_equal(again.moving_to_fixed.displacement_mm, first.moving_to_fixed.displacement_mm)
    assert not any("mics-small" in line for line in describe(read_summary(summary)))


@pytest.mark.nightly
def test_one_patients_grid_is_that_of_the_repeated_registration(run, scans, tiny_model, tmp_path):
    card = {**json.loads(tiny_model.with_suffix(".json").read_text()), "spacing_mm": 9.0}
    coarse = tmp_path / "coarse.safetensors"
    shutil.copy(tiny_model, coarse)
    coarse.with_suffix(".json").write_text(json.dumps(card))
    first = run(same_patient=True, model=coarse)
    assert first.summary["geometry"]["network_grid"]["spacing_mm"] == [9.0] * 3
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps(first.summary))
    with pytest.raises(InputError, match="grid of 9 mm voxels, and the network's card asks for 8 mm: give the file"):
        repeat(summary, scans.fixed, scans.moving)
    again = repeat(summary, scans.fixed, scans.moving, model=coarse)
    np.testing.assert_array_equal(again.moving_to_fixed.displacement_mm, first.moving_to_fixed.displacement_mm)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"steer": "labels"}, "give the label maps of both"),
        ({"fixed_labels": MAP, "moving_labels": MAP, "steer": "labels", "refine": "none"}, 'use `refine="fast"`'),
        ({"same_patient": True, "refine": "none"}, 'use `refine="fast"`'),
        ({"same_patient": "yes"}, "True or False"),
        ({"same_patient": True, "steps": 3}, "leave its steps out"),
        ({"lesions": "burn"}, "'burn'; choose keep or exclude"),
        ({"fixed_lesions": LESION}, "say so by `same_patient`"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_long_begins(run, more, message):
    with pytest.raises(InputError, match=message):
        run(**more)
