"""Which stages a registration has, and in which order."""

from collections.abc import Sequence
from itertools import pairwise

from mics.errors import InputError
from mics.registration.refine_settings import EFFORTS, RefineSettings, for_one_patient
from mics.registration.settings import Settings
from mics.registration.stage import Stage
from mics.registration.stages.affine import Affine
from mics.registration.stages.composition import Composition
from mics.registration.stages.evidence import Evidence
from mics.registration.stages.fold_removal import FoldRemoval
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.inverse_consistency import InverseConsistency
from mics.registration.stages.landmark_fit import LandmarkFit
from mics.registration.stages.network_prediction import NetworkPrediction
from mics.registration.stages.organ_maps import OrganMaps
from mics.registration.stages.resampling import Resampling

_TAKEN = ("read", "warp", "measure", "headers", "total")
"""Keys of the summary's seconds that are no stage's."""


def plan(settings: Settings) -> list[Stage]:
    """All stages of a registration: the affine, the network, what comes after it, and what these need.

    Two scans of one patient, for whom there is no ``model``, are refined from rest: the network has learnt how patients differ,
    and moves what rests.
    """
    after = after_network(settings)
    at_fields = [stage for stage in after if "transforms" not in stage.needs]
    at_transforms = [stage for stage in after if "transforms" in stage.needs]
    organs = settings.segmentation
    return [
        Affine(
            matrix=settings.affine,
            model=settings.affine_model,
            spacing_mm=settings.card.spacing_mm,
            keeps_orientation=any("orientation" in stage.needs for stage in after),
            rigid=settings.same_patient,
        ),
        Resampling(model=settings.model, segmentation=organs),
        *([] if organs is None else [OrganMaps(model=organs)]),
        *([] if settings.model is None else [NetworkPrediction(model=settings.model, steps=settings.steps)]),
        *at_fields,
        *([] if organs is None else [Evidence()]),
        Composition(),
        *at_transforms,
    ]


def after_network(settings: Settings) -> Sequence[Stage]:
    """The stages that follow the network's prediction: the user's, or those that ``refine`` and ``topology`` ask for."""
    if settings.stages is not None:
        return settings.stages
    refined = settings.refine != "none"
    # Only directions that are inverse to each other up to interpolation can be made so by a little.
    inverse = refined or settings.card.inverse_by_construction
    exact = settings.steering if settings.steering is not None and settings.steering.tolerance_mm is not None else None
    return [
        *([_refinement(settings)] if refined else []),
        *([InverseConsistency()] if inverse else []),
        *([] if exact is None else [LandmarkFit(exact)]),
        *([FoldRemoval()] if settings.topology == "preserve" else []),
    ]


def refine_settings(settings: Settings) -> RefineSettings:
    """Settings of the chosen effort, as one patient or two patients need it."""
    chosen = EFFORTS[settings.refine]
    return for_one_patient(chosen) if settings.same_patient else chosen


def _refinement(settings: Settings) -> InstanceOptimisation:
    return InstanceOptimisation(
        refine_settings(settings),
        settings.refine,
        steering=settings.steering,
        keeps_lesions=settings.lesions == "keep",
    )


def refuse_unfit(settings: Settings) -> None:
    """Raise InputError for given stages that share a name, with each other or with the package's, or come in a wrong order."""
    names = [*_TAKEN, *(stage.name for stage in plan(settings))]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two stages are called {name}: give one of them another name.")
    given = settings.stages or ()
    for earlier, later in pairwise(given):
        if "transforms" in earlier.needs and "transforms" not in later.needs:
            raise InputError(
                f"The stage {later.name} changes the deformation before the transforms are made, and {earlier.name} works on "
                f"them: give {later.name} first."
            )
        if isinstance(earlier, FoldRemoval):
            raise InputError(
                f"What {later.name} changes after {earlier.name} may fold again: give {earlier.name} last."
            )
