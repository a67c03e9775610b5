import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from mics.cli.main import app
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import save_model


def body(shape=(24, 22, 20)) -> np.ndarray:
    """HU of a smooth ellipsoid of tissue in air, array order (X, Y, Z)."""
    axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 1
    return np.where(inside, 60 + 40 * axes[0], -1000).astype(np.float32)


def write(path: Path, array: np.ndarray | None = None, *, spacing=10.0, centre=0.0) -> Path:
    """Write an array of 2 to 4 axes, centred on `centre` mm, through SimpleITK; returns the path."""
    array = body() if array is None else array
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=False)
    image.SetSpacing([spacing] * array.ndim)
    image.SetOrigin([centre - spacing * (n - 1) / 2 for n in array.shape])
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def make():
    """`make(path, array=None, spacing=10.0, centre=0.0)` writes a scan; `make.body()` is its usual content."""
    write.body = body
    return write


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """Options of `mics register` for a run of seconds: no affine, a tiny untrained network, no refinement."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    config = MICSConfig(channels=(4, 8))
    save_model(build(config), {"spacing_mm": 10.0, "hu_range": None, "steps": 2}, path)
    return ["--affine", "none", "--model", path, "--refine", "none"]


class _NoLightning(MetaPathFinder):
    """Finds no Lightning, as Python does where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        """Nothing, and for Lightning what Python says."""
        if name == "lightning":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_lightning(monkeypatch):
    """As where Lightning is not installed; what needs it is loaded anew in the test, and afterwards is as it was."""
    parts = ("lightning", "mics.experiments", "mics.pipeline", "mics.report", "mics.training")
    for name in sorted((name for name in sys.modules if name.startswith(parts)), reverse=True):
        package, _, module = name.rpartition(".")
        if package:
            monkeypatch.delattr(sys.modules[package], module, raising=False)
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NoLightning(), *sys.meta_path])


@pytest.fixture
def run():
    """Run `mics` with arguments in this process; the result has exit_code, stdout and stderr."""

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def refused(run):
    """Run `mics` with bad input, check how it is refused, and return the sentence."""

    def invoke(*arguments):
        result = run(*arguments)
        assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.stderr
        assert errors[0].endswith((".", "?"))
        assert "Traceback" not in result.output
        return errors[0]

    return invoke
