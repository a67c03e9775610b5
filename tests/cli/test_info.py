import json
from importlib.metadata import version

import torch


def test_json_is_one_object_with_versions_devices_and_models(run):
    result = run("info", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["versions"]["torch"] == version("torch")
    assert len(found["devices"]) == 1 + torch.cuda.device_count()
    assert "mics-small" in [model["name"] for model in found["models"]]


def test_the_table_names_every_model(run):
    models = json.loads(run("info", "--json").stdout)["models"]
    shown = run("info").stdout
    assert models
    assert all(model["name"] in shown and model["sha256"][:16] in shown for model in models)
