"""Two scans in, two transforms out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mics.data.label_names import LabelNames
from mics.errors import SettingError
from mics.evaluation.landmarks import read_landmarks
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.findings import findings
from mics.registration.fork import refuse_forked
from mics.registration.inputs import Scan, Source, load_pair, meaning_of_labels
from mics.registration.memory import require_memory
from mics.registration.network_grid import refuse_thin
from mics.registration.pair import Pair
from mics.registration.plan import after_network, plan, refuse_unfit
from mics.registration.result import Registration
from mics.registration.settings import Settings, resolve
from mics.registration.stage import Stage, State, run_stage
from mics.registration.steering import what_steers
from mics.registration.summary import completed, summarise
from mics.registration.timing import Timing
from mics.registration.turned import turned_headers

__all__ = ["Registration", "register"]


# The refinement needs gradients, also for a caller who has turned them off.
@torch.inference_mode(False)
@torch.enable_grad()
def register(
    fixed: Source,
    moving: Source,
    *,
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    label_names: LabelNames | None = None,
    fixed_landmarks: str | Path | None = None,
    moving_landmarks: str | Path | None = None,
    fixed_exclude: Source | None = None,
    moving_exclude: Source | None = None,
    fixed_series: str | None = None,
    moving_series: str | None = None,
    affine: str | Path | NDArray[np.floating] = "ants",
    steps: int | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: str = "fast",
    topology: str = "free",
    stages: Sequence[Stage] | None = None,
    steer: Sequence[str | int] = (),
    landmark_tolerance_mm: float | None = None,
    same_patient: bool = False,
    fixed_lesions: Source | None = None,
    moving_lesions: Source | None = None,
    lesions: str = "keep",
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> Registration:
    """Register two abdominal CT scans to each other, both ways.

    - ``fixed``, ``moving``: a file (NIfTI, NRRD, MetaImage), the folder of a DICOM series, or an :class:`Image`; HU,
      any geometry.
    - ``fixed_labels``, ``moving_labels``: label maps on their scans' grids; warped along, and scored if both are given.
    - ``label_names``: what the labels mean, a mapping or a file, see :func:`mics.data.label_names.read_label_names`; by default
      what the label maps' files or their data set say. A label of which nothing is known keeps its number.
    - ``fixed_landmarks``, ``moving_landmarks``: files that :func:`mics.image.points.read_points` reads, matched by their order:
      their distances are measured, before and after.
    - ``fixed_exclude``, ``moving_exclude``: label maps on their scans' grids, above 0 where a scan shows what the other has no
      counterpart of (a lesion, resected tissue): the refinement does not look there and only continues the deformation.
    - ``fixed_series``, ``moving_series``: UIDs of the series to take, where a folder holds several.
    - ``affine``: ``"ants"`` computes it, ``"none"`` takes the scans as they lie in the world, a file (``.tfm``,
      ``.txt``, ``.mat``, ``.h5``) gives the map from fixed to moving points, as ITK and ANTs store it, and so does an array
      (4, 4), in LPS millimetres, with 0, 0, 0, 1 as its last row.
    - ``steps``: of the network; by default what the model's card says. ``model``: a shipped model or a file.
    - ``refine``: how much work to spend on improving the network's prediction on this pair: ``"none"``, ``"fast"``
      or ``"accurate"``. ``device``: ``auto``, ``cpu`` or ``cuda:N``.
    - ``topology``: ``"free"`` delivers the transforms as they come, ``"preserve"`` without any fold, changed as
      little as can be (:func:`mics.deformation.topology.preserve_topology`); the summary says where and by how much.
    - ``stages``: what follows the network's prediction, in this order, in place of what ``refine`` and ``topology`` stand for:
      the package's own, as :class:`~mics.registration.stages.instance_optimisation.InstanceOptimisation`, and any
      :class:`~mics.registration.stage.Stage` of yours. ``refine`` and ``topology`` are then left at their
      defaults, and stages that work on the transforms, as :class:`~mics.registration.stages.fold_removal.FoldRemoval`, come
      last. The summary has what they report under ``stages``.
    - ``steer``: what of that the refinement follows: ``"labels"`` (all that both label maps hold), ``"landmarks"``, and single
      labels by number or name. What steers cannot also judge the result; the summary says so.
    - ``landmark_tolerance_mm``: landmarks that steer are brought as near to their counterparts as that, if nothing folds.
    - ``same_patient``: two scans of one patient: the affine is rigid, the deformation stiffer, bones nearly rigid.
    - ``fixed_lesions``, ``moving_lesions``: of one patient, label maps on their scans' grids with one id a lesion, the same
      in both. They are not compared; the summary has a table of them. ``lesions``: ``"keep"`` keeps their volume,
      ``"exclude"`` continues the deformation through them.
    - ``progress`` is called with a few words as each stage begins.

    Raises InputError, one sentence, for bad input and unusable settings, before anything long begins where that can be
    known.
    """
    refuse_forked()
    timing = Timing(progress)
    with timing("read", "Reading"):
        settings = resolve(
            affine=affine,
            steps=steps,
            model=model,
            refine=refine,
            topology=topology,
            device=device,
            stages=stages,
            same_patient=same_patient,
            lesions=lesions,
        )
        scans, sentences = load_pair(
            fixed=fixed,
            moving=moving,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            fixed_exclude=fixed_exclude,
            moving_exclude=moving_exclude,
            fixed_lesions=fixed_lesions,
            moving_lesions=moving_lesions,
            fixed_series=fixed_series,
            moving_series=moving_series,
        )
        meaning, disagreements = meaning_of_labels(label_names, scans)
        landmarks = read_landmarks(fixed_landmarks, moving_landmarks)
        settings = settings.steered(
            what_steers(steer, landmark_tolerance_mm, scans=scans, meaning=meaning, landmarks=landmarks)
        )
        _refuse_unusable(scans, settings)
    state = State(scans=scans, device=settings.device, warnings=sentences)
    for stage in plan(settings):
        with timing(stage.name, stage.title):
            state = run_stage(stage, state)
    with timing("warp", "Warping"):
        result = _warped(state)
    with timing("measure", "Measuring"):
        found, verdict = findings(
            result, state, settings, meaning=meaning, disagreements=disagreements, landmarks=landmarks
        )
    if verdict.word == "failed" and state.evidence is not None:
        with timing("headers", "It failed: looking for a header that turns its patient"):
            verdict = verdict.because(turned_headers({"fixed": result.fixed, "moving": result.moving}, settings.device))
    return completed(result, summarise(state, settings, found=found, verdict=verdict, timing=timing))


def _refuse_unusable(scans: Pair[Scan], settings: Settings) -> None:
    """Raise InputError for what cannot be registered with these settings, as far as it shows before the work."""
    refuse_unfit(settings)
    masked = scans.fixed.exclude is not None or scans.moving.exclude is not None
    if masked and not any("organ_maps" in stage.needs for stage in after_network(settings)):
        raise SettingError(
            'Masks of what to leave out are for the refinement: use `refine="fast"` or `refine="accurate"`.',
            option="refine",
        )
    followed = scans.fixed.lesions is not None or scans.moving.lesions is not None
    if followed and not settings.same_patient:
        raise SettingError(
            "Lesions are followed from scan to scan of one patient: say so by `same_patient`, or use `fixed_exclude` and "
            "`moving_exclude` between two people.",
            option="same_patient",
        )
    fixed, moving = scans.fixed.image.grid, scans.moving.image.grid
    refuse_thin(fixed=fixed, moving=moving, spacing_mm=settings.model.spacing_mm)
    require_memory(settings, fixed=fixed, moving=moving)


def _warped(state: State) -> Registration:
    """Both scans and their labels brought over, from the originals in one interpolation; the summary still empty."""
    fixed, moving = state.scans.fixed, state.scans.moving
    forward, backward = state.transforms.moving_to_fixed, state.transforms.fixed_to_moving
    return Registration(
        fixed=fixed.image,
        moving=moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        affine=state.affine,
        moving_to_fixed=forward,
        fixed_to_moving=backward,
        moving_warped=forward.transform_image(moving.image),
        fixed_warped=backward.transform_image(fixed.image),
        moving_labels_warped=None if moving.labels is None else forward.transform_labels(moving.labels),
        fixed_labels_warped=None if fixed.labels is None else backward.transform_labels(fixed.labels),
        summary={},
    )
