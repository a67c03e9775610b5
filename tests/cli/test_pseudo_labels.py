"""`mics pseudo-labels`: what reaches the user, and what is refused."""

import numpy as np
import pytest
import torch

from mics.data.manifest import Entry, write_manifest
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.network.kinds import build
from mics.network.segmentation import OrganSegmentationConfig
from mics.network.weights import save_model


@pytest.fixture
def prepared(tmp_path):
    """One subject without annotation."""
    root = tmp_path / "prepared"
    root.mkdir()
    grid = Grid.axis_aligned((0, 0, 0), (22, 22, 22), 2, "LAS")
    write_image(
        Image(np.random.default_rng(0).integers(-200, 200, grid.size).astype(np.int16), grid), root / "a.nii.gz"
    )
    write_manifest([Entry(name="a", cohort="own", split="train", status="prepared", image="a.nii.gz")], root)
    return root


def test_a_set_is_completed(run, prepared, tmp_path):
    torch.manual_seed(0)
    model = tmp_path / "organs.safetensors"
    save_model(build(OrganSegmentationConfig(channels=(4, 8))), {"spacing_mm": 2.0, "hu_range": None}, model)
    result = run("pseudo-labels", prepared, "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "predicted a" in result.stdout
    assert "review.html, worst first" in result.stdout
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_what_cannot_be_used_is_refused(refused, prepared, tmp_path, quick):
    model = quick[quick.index("--model") + 1]
    assert "is for registration, not for segmentation" in refused(
        "pseudo-labels", prepared, "-o", tmp_path / "out", "--model", model
    )
    assert "mics prepare has made" in refused("pseudo-labels", tmp_path, "-o", tmp_path / "out")
    assert "There is no model nonsense" in refused(
        "pseudo-labels", prepared, "-o", tmp_path / "x", "--model", "nonsense"
    )
    assert not (tmp_path / "x").exists()
