"""What is looked up for a registration: the models that belong together."""

from typing import Any

import pytest

from mics.registration.settings import Settings, resolve

CHOICES: dict[str, Any] = {"affine": "none", "steps": None, "topology": "free", "device": "cpu"}


def segmentation(model: str, refine: str) -> str | None:
    settings: Settings = resolve(model=model, refine=refine, **CHOICES)
    return None if settings.segmentation is None else settings.segmentation.name


@pytest.mark.parametrize("refine", ["none", "fast"])
def test_a_network_gets_the_organ_maps_that_it_was_trained_with(refine: str) -> None:
    assert segmentation("mics-velocity", refine) == "organs-small"
    assert segmentation("mics-fast", refine) == "organs-coarse"
