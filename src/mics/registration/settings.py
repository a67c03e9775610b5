"""What a user may choose, looked up and checked before anything long begins."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mics.choices import Lesions, Topology
from mics.deformation.itk_transform import affine_of
from mics.errors import SettingError, require_type, shown
from mics.network.card import MAX_STEPS, ModelCard
from mics.network.weights import DEFAULT_SEGMENTATION, LoadedModel, load_card_for, load_model_for
from mics.registration.affine_file import read_affine
from mics.registration.device import choose_device
from mics.registration.organ_affine import AFFINE_MODEL
from mics.registration.refine_settings import EFFORTS
from mics.registration.stage import Stage, refuse_other_than_stages
from mics.registration.stages.fold_removal import FoldRemoval
from mics.registration.steering import Steering

TOPOLOGIES: tuple[str, ...] = get_args(Topology)
LESIONS: tuple[str, ...] = get_args(Lesions)


@dataclass(frozen=True, eq=False)
class Settings:
    """``affine`` (4, 4), fixed to moving LPS points; None to compute it. ``segmentation``: None where no organs are needed."""

    affine: NDArray[np.float64] | None
    affine_source: str
    """``organs``, ``ants``, ``none``, ``array`` or the file."""
    steps: int
    model: LoadedModel | None
    """The registration network; None where none predicts, between two scans of one patient."""
    card: ModelCard
    """That network's, or of one patient the one that would predict: how fine the grid is, and which network finds the organs."""
    topology: Topology
    refine: str
    """``none`` or an effort of :data:`mics.registration.refine_settings.EFFORTS`; of given ``stages`` their names."""
    segmentation: LoadedModel | None
    affine_model: LoadedModel | None
    """By which the affine's organs are found; None where no organs are needed for it."""
    device: torch.device
    stages: tuple[Stage, ...] | None = None
    """What a user has put together in place of what ``refine`` and ``topology`` stand for."""
    same_patient: bool = False
    lesions: Lesions = "keep"
    """``keep``: lesions keep their volume; ``exclude``: they are not looked at, and the deformation is continued."""
    steering: Steering | None = None

    def steered(self, steering: Steering | None) -> Self:
        """The same led by labels or landmarks. Raises InputError where nothing can be led."""
        if steering is not None:
            self.refuse_unled()
        return replace(self, steering=steering)

    def refuse_unled(self) -> None:
        """Raise InputError where there is no refinement that could be led."""
        if self.refine == "none" or self.stages is not None:
            raise SettingError(
                'Labels and landmarks steer the refinement: use `refine="fast"` or `refine="accurate"`; of stages of your own, '
                "InstanceOptimisation takes what steers.",
                option="refine",
            )

    def unrefined(self) -> Self:
        """The same without refinement, and without the organs if nothing else needs them."""
        needed = self.card.sees_organ_maps
        return replace(self, refine="none", segmentation=self.segmentation if needed else None)

    def to_dict(self) -> dict[str, Any]:
        """The settings for the summary: plain data, the models with their checksums."""
        return {
            "affine": self.affine_source,
            "affine_model": None if self.affine_model is None else _described(self.affine_model),
            "steps": self.steps,
            "refine": self.refine,
            "topology": self.topology,
            "same_patient": self.same_patient,
            "lesions": self.lesions,
            "device": str(self.device),
            "model": None if self.model is None else _described(self.model),
            "segmentation_model": None if self.segmentation is None else _described(self.segmentation),
        }


def resolve(
    *,
    affine: str | Path | NDArray[np.floating],
    steps: int | None,
    model: str | Path | LoadedModel,
    refine: str,
    topology: Topology,
    device: str | torch.device,
    stages: Sequence[Stage] | None = None,
    same_patient: bool = False,
    lesions: Lesions = "keep",
) -> Settings:
    """What :func:`mics.registration.register.register` is given, looked up; InputError for what is not there."""
    refine, topology = _chosen(refine, topology, stages)
    require_type(same_patient, bool, "Whether both scans are of one patient is True or False")
    if same_patient:
        _refuse_for_one_patient(refine, stages, steps)
    if lesions not in LESIONS:
        raise SettingError(
            f"Lesions are not dealt with by {lesions!r}; choose {' or '.join(LESIONS)}.", option="lesions"
        )
    if lesions != "keep" and not same_patient:
        raise SettingError(
            f'`lesions="{lesions}"` is for two scans of one patient: say so by `same_patient`, or use `fixed_exclude` and '
            "`moving_exclude` between two patients.",
            option="same_patient",
        )
    if same_patient and isinstance(affine, str) and affine == "organs":
        affine = "ants"  # rigid, by all that is seen: bones lie more surely in one place than soft organs
    place = choose_device(device)
    matrix, source = _affine(affine)
    network = None if same_patient else load_model_for("registration", model)
    card = load_card_for("registration", model if network is None else network)
    needed = refine != "none" if stages is None else any("organ_maps" in stage.needs for stage in stages)
    looks = needed or card.sees_organ_maps
    organs = load_model_for("segmentation", card.organs_model or DEFAULT_SEGMENTATION) if looks else None
    return Settings(
        affine=matrix,
        affine_source=source,
        steps=0 if same_patient else _steps(card.steps if steps is None else steps),
        model=network,
        card=card,
        topology=topology,
        refine=refine,
        segmentation=organs,
        affine_model=load_model_for("segmentation", AFFINE_MODEL) if source == "organs" else None,
        device=place,
        stages=None if stages is None else tuple(stages),
        same_patient=same_patient,
        lesions=lesions,
    )


def _refuse_for_one_patient(refine: str, stages: Sequence[Stage] | None, steps: int | None) -> None:
    if stages is not None or refine == "none":
        raise SettingError(
            'What is kept stiff between two scans of one patient is kept by the refinement: use `refine="fast"` or '
            '`refine="accurate"`, and no stages of your own.',
            option="same_patient",
        )
    if steps is not None:
        raise SettingError(
            "Two scans of one patient are registered without the network's prediction: leave its steps out.",
            option="steps",
        )


def _steps(chosen: int) -> int:
    require_type(chosen, (int, np.integer), "The steps of the network are a whole number")
    if not 1 <= chosen <= MAX_STEPS:
        raise SettingError(
            f"The network takes at least one step and at most {MAX_STEPS} steps, not {shown(chosen)}.", option="steps"
        )
    return int(chosen)


def _chosen(refine: str, topology: Topology, stages: Sequence[Stage] | None) -> tuple[str, Topology]:
    """What is refined how, and the topology: as asked for, by default, or as given stages amount to."""
    if stages is not None:
        if (refine, topology) != ("fast", "free"):
            raise SettingError(
                "Stages take the place of what refine and topology stand for: leave both as they are by default.",
                option="stages",
            )
        refuse_other_than_stages(stages)
        names = [stage.name for stage in stages if "transforms" not in stage.needs]
        unfolded = any(isinstance(stage, FoldRemoval) for stage in stages)
        return " + ".join(names) or "none", "preserve" if unfolded else "free"
    if refine not in ("none", *EFFORTS):
        raise SettingError(
            f"There is no refinement called {refine!r}; choose none, {' or '.join(EFFORTS)}.", option="refine"
        )
    if topology not in TOPOLOGIES:
        raise SettingError(
            f"There is no topology called {topology!r}; choose {' or '.join(TOPOLOGIES)}.", option="topology"
        )
    return refine, topology


def _affine(given: str | Path | NDArray[np.floating]) -> tuple[NDArray[np.float64] | None, str]:
    """The matrix, None if it is to be computed, and what the summary says of its origin."""
    require_type(given, (str, os.PathLike, np.ndarray), "The affine is organs, ants, none, a file or a 4x4 array")
    if isinstance(given, np.ndarray):
        return affine_of(given), "array"
    matrix = None if given in ("organs", "ants") else np.eye(4) if given == "none" else read_affine(given)
    return matrix, str(given)


def _described(model: LoadedModel) -> dict[str, Any]:
    return {"name": model.name, "sha256": model.sha256, "spacing_mm": model.spacing_mm}
