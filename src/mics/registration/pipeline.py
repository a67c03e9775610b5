"""Two scans in, two transforms out."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mics.data.label_names import LabelNames
from mics.deformation.topology import preserve_topology, refuse_mirrors
from mics.deformation.transform import Transform
from mics.errors import InputError, shown
from mics.evaluation.landmarks import read_landmarks
from mics.network.displacements import Both
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.affine import register_affine
from mics.registration.evidence import gather
from mics.registration.fork import refuse_forked
from mics.registration.inputs import Scan, Source, load_pair, meaning_of_labels
from mics.registration.memory import require_memory
from mics.registration.native import fixed_to_moving, moving_to_fixed
from mics.registration.network_grid import both_seen, network_grid, refuse_thin
from mics.registration.predict import (
    Pair,
    compared,
    inverted,
    organ_maps,
    predict,
    refined,
    refuse_nothing_compared,
    same_box,
    windows,
)
from mics.registration.quality import label_doubts, landmark_doubts, landmark_scores, measure
from mics.registration.refine_settings import BUDGETS
from mics.registration.result import Registration
from mics.registration.settings import Settings, resolve
from mics.registration.sides import check_sides
from mics.registration.stages import Stages, peak_memory_gb
from mics.registration.summary import describe, describe_geometry, doubts, provenances
from mics.registration.turned import turned_headers
from mics.registration.verdict import judge

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Evidence = dict[str, Any]

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
    affine: str | Path = "ants",
    steps: int | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: str = "fast",
    topology: str = "free",
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
      their distances are measured, before and after; they do not steer.
    - ``fixed_exclude``, ``moving_exclude``: label maps on their scans' grids, above 0 where a scan shows what the other has no
      counterpart of (a lesion, resected tissue): the refinement does not look there and only continues the deformation.
    - ``fixed_series``, ``moving_series``: UIDs of the series to take, where a folder holds several.
    - ``affine``: ``"ants"`` computes it, ``"none"`` takes the scans as they lie in the world, a file (``.tfm``,
      ``.txt``, ``.mat``, ``.h5``) gives the map from fixed to moving points, as ITK and ANTs store it.
    - ``steps``: of the network; by default what the model's card says. ``model``: a shipped model or a file.
    - ``refine``: how much work to spend on improving the network's prediction on this pair: ``"none"``, ``"fast"``
      or ``"accurate"``. ``device``: ``auto``, ``cpu`` or ``cuda:N``.
    - ``topology``: ``"free"`` delivers the transforms as they come, ``"preserve"`` without any fold, changed as little as can be
      (:func:`mics.deformation.topology.preserve_topology`); the summary says where and by how much.
    - ``progress`` is called with a few words as each stage begins.

    Raises InputError, one sentence, for bad input and unusable settings, before anything long begins where that can be
    known.
    """
    refuse_forked()
    if progress is not None and not callable(progress):
        raise InputError(f"progress is a function of one text, not {shown(progress)}.")
    stages = Stages(progress)
    with stages("read", "Reading"):
        settings = resolve(affine=affine, steps=steps, model=model, refine=refine, topology=topology, device=device)
        target, source, sentences = load_pair(
            fixed,
            moving,
            fixed_labels,
            moving_labels,
            fixed_exclude=fixed_exclude,
            moving_exclude=moving_exclude,
            fixed_series=fixed_series,
            moving_series=moving_series,
        )
        names, disagreements = meaning_of_labels(label_names, target, source)
        landmarks = read_landmarks(fixed_landmarks, moving_landmarks)
        if settings.refine == "none" and (target.exclude is not None or source.exclude is not None):
            raise InputError("Masks of what to leave out are for the refinement: use --refine fast or accurate.")
        refuse_thin(target.image.grid, source.image.grid, settings.model.spacing_mm)
        require_memory(target.image.grid, source.image.grid, settings)
    with stages("affine", "Affine registration"):
        matrix = register_affine(target.image, source.image) if settings.affine is None else settings.affine
        if settings.topology == "preserve":
            refuse_mirrors(matrix)
        grid = network_grid(target.image.grid, source.image.grid, matrix, settings.model.spacing_mm)
        seen = both_seen(target.image.grid, source.image.grid, grid, matrix)
    pair = Pair(source.image, target.image, matrix, grid, source.exclude, target.exclude)
    displacements, sides, evidence = _displacements(pair, seen, settings, stages)
    with stages("compose", "Composing with the affine"):
        field_grid = same_box(grid, displacements[0].shape[2:])
        forward = moving_to_fixed(displacements[0], field_grid, target.image.grid, matrix)
        backward = fixed_to_moving(displacements[1], field_grid, source.image.grid, matrix)
    certificates = None
    if settings.topology == "preserve":
        with stages("topology", "Opening folds"):
            forward, backward, certificates = _unfolded(forward, backward, matrix)
    with stages("warp", "Warping"):
        result = _warped(target, source, matrix, forward, backward)
    with stages("measure", "Measuring"):
        geometry = describe_geometry(matrix, grid, seen)
        measured = measure(result, displacements, names)
        numbering = label_doubts(result)
        questions = [
            *doubts(matrix, geometry, measured["folds"]),
            *numbering,
            *disagreements,
            *landmark_doubts(result, landmarks),
        ]
        verdict = judge(
            {**measured, "evidence": evidence, "labels": None if numbering else measured["labels"]}, questions
        )
    if verdict.word == "failed" and settings.segmentation is not None:
        with stages("headers", "It failed: looking for a header that turns its patient"):
            verdict = verdict.because(turned_headers({"fixed": target.image, "moving": source.image}, settings.device))
    summary = {
        **describe(target, source, settings),
        "verdict": {"word": verdict.word, "reasons": list(verdict.reasons)},
        "geometry": geometry,
        **measured,
        "landmarks": landmark_scores(result, landmarks),
        "topology": certificates,
        "evidence": evidence,
        "seconds": stages.times(),
        "peak_memory_gb": peak_memory_gb(settings.device),
        "warnings": [*sentences, *sides],
    }
    to_fixed, to_moving = provenances(target, source, summary)
    return dataclasses.replace(
        result,
        moving_to_fixed=dataclasses.replace(forward, provenance=to_fixed),
        fixed_to_moving=dataclasses.replace(backward, provenance=to_moving),
        summary=summary,
    )


def _displacements(
    pair: Pair, seen: tuple[Mask, Mask], settings: Settings, stages: Stages
) -> tuple[Both, list[str], Evidence | None]:
    """Displacements on the CPU, in voxels of a grid over the pair's box; what the organs' sides say of the headers; evidence."""
    sentences: list[str] = []
    evidence = None
    with stages("resample", "Resampling to the network's grid"):
        models = [settings.model] if settings.segmentation is None else [settings.model, settings.segmentation]
        volumes, *others = windows(pair, models, settings.device)
        finer = others[0] if others else None
    organs = None
    if settings.segmentation is not None and finer is not None:
        with stages("organs", "Finding the organs"):
            organs = organ_maps(settings.segmentation, finer)
            try:
                sentences = check_sides(*organs, settings.segmentation.spacing_mm)
            except InputError:
                # What is found in a patient who is turned may lie on any side.
                turned = turned_headers({"fixed": pair.fixed, "moving": pair.moving}, settings.device)
                if turned:
                    raise InputError(" ".join(turned)) from None
                raise
    with stages("network", f"Network, steps: {settings.steps}"):
        displacements = predict(settings.model, volumes, organs, settings.steps)
    if settings.refine != "none" and settings.segmentation is not None and finer is not None and organs is not None:
        with stages("refine", f"Refining on this pair, {settings.refine}"):
            spacing_mm = settings.segmentation.spacing_mm
            counted = compared(pair, seen, spacing_mm)
            refuse_nothing_compared(pair, counted, finer)
            counted = counted.to(settings.device)
            displacements = refined(finer, organs, counted, displacements, spacing_mm, BUDGETS[settings.refine])
    if settings.inverse_by_construction:
        with stages("inverse", "Mending the inverse"):
            displacements = inverted(displacements, pair.grid)
    if settings.segmentation is not None and finer is not None and organs is not None:
        with stages("evidence", "Looking whether it worked"):
            spacing_mm = settings.segmentation.spacing_mm
            counted = compared(pair, seen, spacing_mm)
            evidence = gather(finer, organs, counted, displacements, spacing_mm)
    return (displacements[0].cpu(), displacements[1].cpu()), sentences, evidence


def _unfolded(
    forward: Transform, backward: Transform, affine: Matrix
) -> tuple[Transform, Transform, dict[str, dict[str, float]]]:
    """Both transforms without folds, and by direction what that changed, what holds now and how many seconds it took."""
    kept: list[Transform] = []
    certificates = {}
    ways = (("moving_to_fixed", forward, affine), ("fixed_to_moving", backward, np.linalg.inv(affine)))
    for name, transform, linear in ways:
        began = time.perf_counter()
        result, certificate = preserve_topology(transform, linear)
        kept.append(result)
        certificates[name] = {
            **dataclasses.asdict(certificate),
            "seconds": round(time.perf_counter() - began, 2),
        }
    return kept[0], kept[1], certificates


def _warped(fixed: Scan, moving: Scan, affine: Matrix, forward: Transform, backward: Transform) -> Registration:
    """Both scans and their labels brought over, from the originals in one interpolation; the summary still empty."""
    return Registration(
        fixed=fixed.image,
        moving=moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        affine=affine,
        moving_to_fixed=forward,
        fixed_to_moving=backward,
        moving_warped=forward.transform_image(moving.image),
        fixed_warped=backward.transform_image(fixed.image),
        moving_labels_warped=None if moving.labels is None else forward.transform_labels(moving.labels),
        fixed_labels_warped=None if fixed.labels is None else backward.transform_labels(fixed.labels),
        summary={},
    )
