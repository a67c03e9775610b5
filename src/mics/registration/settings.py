"""What a user may choose, looked up and checked before anything long begins."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mics.errors import InputError, require_type, shown
from mics.network.card import MOST_STEPS
from mics.network.weights import LoadedModel, load_model_for
from mics.registration.affine_file import read_affine
from mics.registration.device import choose_device
from mics.registration.refine_settings import BUDGETS

TOPOLOGIES = ("free", "preserve")


@dataclass(frozen=True)
class Settings:
    """``affine`` (4, 4), fixed to moving LPS points: None to compute it. ``segmentation``: None where no organs are needed."""

    affine: NDArray[np.float64] | None
    affine_source: str
    steps: int
    model: LoadedModel
    topology: str
    refine: str
    """``none`` or a budget of :data:`mics.registration.refine.BUDGETS`."""
    segmentation: LoadedModel | None
    device: torch.device

    @property
    def inverse_by_construction(self) -> bool:
        """Whether the two directions are inverse to each other up to interpolation."""
        return self.refine != "none" or self.model.card.inverse_by_construction

    def unrefined(self) -> Self:
        """The same without refinement, and without the organs if nothing else needs them."""
        needed = self.model.card.sees_organ_maps
        return replace(self, refine="none", segmentation=self.segmentation if needed else None)

    def to_dict(self) -> dict[str, Any]:
        """For the summary: plain data, the models with their checksums."""
        return {
            "affine": self.affine_source,
            "steps": self.steps,
            "refine": self.refine,
            "topology": self.topology,
            "device": str(self.device),
            "model": _described(self.model),
            "segmentation_model": None if self.segmentation is None else _described(self.segmentation),
        }


def resolve(
    *, affine: str | Path, steps: int | None, model: str | Path, refine: str, topology: str, device: str
) -> Settings:
    """What :func:`mics.registration.pipeline.register` is given, looked up; InputError for what is not there."""
    if refine not in ("none", *BUDGETS):
        raise InputError(f"There is no refinement called {refine!r}; choose none, {' or '.join(BUDGETS)}.")
    if topology not in TOPOLOGIES:
        raise InputError(f"There is no topology called {topology!r}; choose {' or '.join(TOPOLOGIES)}.")
    require_type(device, str, "A device is named by a str: auto, cpu or cuda:N")
    place = choose_device(device)
    require_type(affine, (str, os.PathLike), "The affine is ants, none or a file")
    matrix = None if affine == "ants" else np.eye(4) if affine == "none" else read_affine(affine)
    network = load_model_for("registration", model)
    organs = (
        load_model_for("segmentation", network.organs_model)
        if refine != "none" or network.card.sees_organ_maps
        else None
    )
    chosen = network.steps if steps is None else steps
    require_type(chosen, (int, np.integer), "The steps of the network are a whole number")
    if not 1 <= chosen <= MOST_STEPS:
        raise InputError(f"The network takes at least one step and at most {MOST_STEPS} steps, not {shown(chosen)}.")
    return Settings(matrix, str(affine), int(chosen), network, topology, refine, organs, place)


def _described(model: LoadedModel) -> dict[str, Any]:
    return {"name": model.name, "sha256": model.sha256, "spacing_mm": model.spacing_mm}
