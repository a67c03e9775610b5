"""From raw folders of four cohorts with partial annotations to an evaluated registration model; then again, for nothing."""

import json

import numpy as np
import pytest
import yaml

from mics.data.manifest import read_manifest
from mics.errors import InputError
from mics.network.weights import load_model

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.pipeline.pipeline import run
from mics.pipeline.plan import load_plan

SEGMENTATION = {
    "task": "segmentation",
    "preset": "organs-coarse",
    "spacing_mm": 8,
    "epochs": 2,
    "iterations_per_epoch": 3,
    "learning_rate": 2e-3,
}
REGISTRATION = {
    "task": "registration",
    "preset": "small",
    "spacing_mm": 8,
    "steps": 1,
    "epochs": 1,
    "iterations_per_epoch": 2,
    "supervised_organs": list(range(1, 12)),
}


@pytest.fixture(scope="module")
def plan(publishers, tmp_path_factory):
    """A plan beside four cohorts: all organs, several, the kidneys, the liver."""
    root = tmp_path_factory.mktemp("raw")
    cohorts = {name: name for name in ("learn2reg", "pancreas-ct", "kits19", "msd-liver")}
    for name in cohorts:
        publishers.WRITERS[name](root / name, 4 if name == "learn2reg" else 1, 8.0)
    for name, recipe in (("organs", SEGMENTATION), ("register", REGISTRATION)):
        (root / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    content = {
        "cohorts": cohorts,
        "spacing_mm": 8,
        "size": [48, 40, 64],
        "workers": 1,
        "segmentation": {"recipe": "organs.yaml"},
        "segmentation_validation": {"pancreas-ct": ["PANCREAS_0001"]},
        "pretrain": {"recipe": "register.yaml"},
        "finetune": {"recipe": "register.yaml", "set": ["epochs=2"]},
    }
    path = root / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.nightly
def test_raw_folders_become_an_evaluated_model_once(plan, tmp_path):
    out, messages = tmp_path / "out", []
    places = run(load_plan(plan), out, device="cpu", progress=messages.append)

    prepared = {row.name: row for row in read_manifest(places["prepared"])}
    assert len(prepared) == 4 + 1 + 1 + 2 + 2
    completed = {row.name: row for row in read_manifest(places["pseudo-labels"])}
    for name, row in completed.items():
        assert row.organs == prepared[name].organs
        assert row.split == "test" or row.pseudo_organs or len(row.organs) == 13, name
    trained = {case["name"] for case in json.loads((places["pretrain"] / "run.json").read_text())["cases"]}
    assert trained == prepared.keys() - {"learn2reg_0005"}
    segmented = json.loads((places["segmentation"] / "run.json").read_text())["cases"]
    assert {case["name"] for case in segmented if case["split"] == "val"} == {
        "learn2reg_0003",
        "learn2reg_0004",
        "pancreas-ct_PANCREAS_0001",
    }
    assert "| liver | 3 |" in places["segmentation scores"].read_text(encoding="utf-8")
    assert prepared["pancreas-ct_PANCREAS_0001"].split == "train"  # of everything else
    tuned_on = json.loads((places["finetune"] / "run.json").read_text())
    assert {case["name"]: case["split"] for case in tuned_on["cases"]} == {
        "learn2reg_0001": "train",
        "learn2reg_0002": "train",
        "learn2reg_0003": "val",
        "learn2reg_0004": "val",
    }
    assert tuned_on["initial"] == str(places["pretrain"])
    result = json.loads(places["evaluate"].read_text())
    assert (result["pairs"], len(result["by_pair"][0]["dice"])) == (1, 13)
    assert np.isfinite([result["dice"], result["sd_log_jacobian"]]).all()
    assert 0.02 < result["dice"] < 1
    assert result["model"] == str(places["finetune"] / "model.safetensors")
    assert load_model(places["segmentation"]).card.recipe.epochs == 2

    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    messages.clear()
    assert run(load_plan(plan), out, device="cpu", progress=messages.append) == places
    assert [message.split(":")[0] for message in messages if "current" in message] == [
        "segmentation",
        "segmentation-scores",
        "pretrain",
        "finetune",
        "evaluate",
    ]
    assert not [message for message in messages if message.startswith("  ")]
    changed = {path.name for path, when in files.items() if path.stat().st_mtime_ns != when}
    assert changed == {"manifest.csv", "ranking.csv", "review.html"}

    # A reviewer rejects a case: what depends on it is trained again, what does not is current.
    (places["pseudo-labels"] / "verdicts.csv").write_text(
        "case,organ,verdict,comment\nkits19_case_00210,,reject,upside down\n"
    )
    again = run(load_plan(plan), out, device="cpu")
    assert again["segmentation"] == places["segmentation"]
    assert again["pretrain"] != places["pretrain"]
    left = {case["name"] for case in json.loads((again["pretrain"] / "run.json").read_text())["cases"]}
    assert trained - left == {"kits19_case_00210"}


def test_too_few_subjects_to_fine_tune_on_are_told_before_the_long_stages(publishers, tmp_path):
    publishers.learn2reg(tmp_path / "data", 2, 16.0)
    (tmp_path / "plan.yaml").write_text(
        "cohorts: {learn2reg: data}\nreference: learn2reg_0001\nspacing_mm: 16\nsize: [24, 20, 32]\nworkers: 1\n"
    )
    with pytest.raises(InputError, match="fewer than two subjects in the split 'train'"):
        run(load_plan(tmp_path / "plan.yaml"), tmp_path / "out", device="cpu")
