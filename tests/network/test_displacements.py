"""The compiled call: the same deformations as the plain one, for both forms of network, in one graph."""

import shutil
from functools import partial

import pytest
import torch

from mics.network.card import ModelCard
from mics.network.displacements import compiled, displacements
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.precision import half_precision_pays
from mics.network.velocity import VelocityConfig
from mics.network.weights import LoadedModel

TINY = MICSConfig(channels=(4, 4), decoder_normalisation=False)
FORMS = {
    "velocities": VelocityConfig(channels=(4, 4), decoder_normalisation=False, velocity_levels=2),
    "gradients": TINY,
}
CARD = {"sha256": "", "spacing_mm": 8.0, "hu_range": None, "trained_with_flips": True}


def model(form: str) -> LoadedModel:
    """A network that is not trained, but deforms by voxels."""
    torch.manual_seed(0)
    network = build(FORMS[form])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "head" in name:
                parameter.normal_(std=0.1)
    return LoadedModel(network.eval(), "tiny", ModelCard(network=network.config, **CARD))


def spots(seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(12, 8, 8), mode="trilinear", align_corners=True)


@pytest.mark.nightly
@pytest.mark.parametrize("form", ["gradients", "velocities"])
def test_call_is_one_graph_compiled_once_and_finds_what_the_plain_one_finds(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced whole, without the minutes of code generation, which may round otherwise.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.compiler.reset()
    tiny = model(form)
    call = compiled(tiny, steps=2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in (1, 3):
            a, b = spots(seed), spots(seed + 1)
            for found, plain in zip(call(a, b), displacements(tiny, a, b, steps=2), strict=True):
                assert plain.abs().max() > 0.5
                # Half precision is rounded at other places where operations are fused.
                torch.testing.assert_close(found, plain, atol=5e-3 if half_precision_pays("cpu") else 1e-4, rtol=0)


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_generated_code_finds_what_the_plain_call_finds() -> None:
    tiny, a, b = model("gradients"), spots(1), spots(2)
    for found, plain in zip(compiled(tiny, steps=2)(a, b), displacements(tiny, a, b, steps=2), strict=True):
        assert (found - plain).norm() < 0.05 * plain.norm()  # half precision is rounded at other places
