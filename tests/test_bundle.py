"""The MONAI bundle of `make bundle`, made and run by MONAI's own commands in processes of their own."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mics
from mics.network.weights import DEFAULT_REGISTRATION, load_model

ROOT = Path(__file__).parents[1]
# By hand from the mandatory keys of MONAI's specification: its own schema lies on the web.
TENSOR = {
    "type": "object",
    "required": [
        "type",
        "format",
        "num_channels",
        "spatial_shape",
        "dtype",
        "value_range",
        "is_patch_data",
        "channel_def",
    ],
    "properties": {
        "is_patch_data": {"type": "boolean"},
        "num_channels": {"type": "integer"},
        "value_range": {"type": "array"},
    },
}
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
TEXTS = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright")
MANDATORY = {
    "type": "object",
    "required": [*TEXTS, "optional_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in TEXTS},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        },
    },
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("monai")
    pytest.importorskip("fire")
    folder = tmp_path_factory.mktemp("bundle") / "mics"
    runpy.run_path(str(ROOT / "bundle" / "make_bundle.py"))["main"](folder)
    return folder


def monai(folder, *arguments):
    command = [sys.executable, "-m", "monai.bundle", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def test_it_holds_what_the_specification_asks_for_and_the_default_models(bundle):
    jsonschema = pytest.importorskip("jsonschema")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    jsonschema.validate(metadata, MANDATORY)
    assert metadata["version"] == mics.__version__
    for name in ("models/model.pt", "docs/README.md", "docs/license.txt", "LICENSE", "configs/inference.json"):
        assert (bundle / name).is_file(), name
    inference = json.loads((bundle / "configs" / "inference.json").read_text())
    assert f"{DEFAULT_REGISTRATION}.safetensors" in inference["model"]
    ours, theirs = load_model(), load_model(bundle / "models" / f"{DEFAULT_REGISTRATION}.safetensors")
    assert ours.sha256 == theirs.sha256
    assert (bundle / "models" / f"{ours.organs_model}.safetensors").is_file()
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    for name, tensor in ours.network.state_dict().items():
        assert torch.equal(weights[name], tensor)


@pytest.mark.nightly
def test_monai_verifies_the_metadata(bundle, tmp_path):
    pytest.importorskip("jsonschema")
    (tmp_path / "schema.json").write_text(json.dumps(MANDATORY))  # where it is, nothing is fetched
    arguments = ("--meta_file", "configs/metadata.json", "--filepath", tmp_path / "schema.json")
    result = monai(bundle, "verify_metadata", *arguments)
    assert "metadata is verified with no error" in result.stdout + result.stderr


@pytest.mark.nightly
def test_monai_runs_what_mics_register_runs(bundle, tmp_path):
    grid = mics.Grid.axis_aligned((-180, -130, -210), (180, 130, 210), (6, 6, 6), orientation="LPS")
    for name, subject in zip(("fixed", "moving"), mics.phantom_pair(3, grid, grid), strict=True):
        mics.write_image(subject.image, tmp_path / f"{name}.nii.gz")
    scans = [tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"]
    options = {"affine": "none", "refine": "none", "device": "cpu"}
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    configs = ("--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json")
    places = ("--fixed", scans[0], "--moving", scans[1], "--output_dir", tmp_path / "out")
    monai(bundle, "run", *configs, *places, *flags)
    expected = mics.register(*scans, **options)
    for name, transform in (
        ("moving_to_fixed", expected.moving_to_fixed),
        ("fixed_to_moving", expected.fixed_to_moving),
    ):
        found = mics.Transform.load(tmp_path / "out" / f"transform_{name}.nii.gz")
        # Files hold multiples of 1/256 mm.
        np.testing.assert_allclose(found.displacement_mm, transform.displacement_mm, atol=0.0025)
        assert np.abs(found.displacement_mm).max() > 5
