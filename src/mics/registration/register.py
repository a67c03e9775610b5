"""Two scans in, two transforms out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mics.choices import Lesions, Refine, Topology
from mics.data.label_names import LabelNames
from mics.network.weights import DEFAULT_REGISTRATION, LoadedModel
from mics.registration.inputs import Source
from mics.registration.registrar import Registrar
from mics.registration.result import Registration
from mics.registration.stage import Stage

__all__ = ["Registration", "register"]


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
    affine: str | Path | NDArray[np.floating] = "organs",
    steps: int | None = None,
    model: str | Path | LoadedModel = DEFAULT_REGISTRATION,
    refine: Refine = "fast",
    topology: Topology = "free",
    stages: Sequence[Stage] | None = None,
    steer: Sequence[str | int] = (),
    landmark_tolerance_mm: float | None = None,
    same_patient: bool = False,
    fixed_lesions: Source | None = None,
    moving_lesions: Source | None = None,
    lesions: Lesions = "keep",
    device: str | torch.device = "auto",
    progress: Callable[[str], None] | None = None,
) -> Registration:
    """Register two abdominal CT scans to each other, both ways. For many pairs, :class:`mics.Registrar` keeps its models.

    Args:
        fixed: A file (NIfTI, NRRD, MetaImage), the folder of a DICOM series, an :class:`Image`, a volume of SimpleITK, nibabel,
            ANTs, MONAI or TorchIO, or an array with its :class:`Grid` (:func:`mics.image.libraries.as_image`); HU, any geometry.
        moving: The other scan, of the same forms.
        fixed_labels: A label map on its scan's grid; warped along, and scored if both are given.
        moving_labels: The same of the moving scan.
        label_names: What the labels mean, a mapping or a file (:func:`mics.data.label_names.read_label_names`); by default what
            the label maps' files or their data set say. A label of which nothing is known keeps its number.
        fixed_landmarks: A file that :func:`mics.image.points.read_points` reads, LPS mm. Both lists are matched by their order;
            the distances are measured, before and after.
        moving_landmarks: The same of the moving scan.
        fixed_exclude: A label map on its scan's grid, above 0 where the scan shows what the other has no counterpart of (a
            lesion, resected tissue): the refinement does not look there and only continues the deformation.
        moving_exclude: The same of the moving scan.
        fixed_series: UID of the series to take, where a folder holds several.
        moving_series: The same of the moving scan.
        affine: ``"organs"`` computes it from the organs found in both scans and the tissue around them
            (:func:`mics.registration.organ_affine.register_affine_by_organs`), ``"ants"`` from intensities by ANTs, ``"none"``
            takes the scans as they lie in the world, a file (``.tfm``, ``.txt``, ``.mat``, ``.h5``) gives the map from fixed to
            moving points, as ITK and ANTs store it, and so does an array (4, 4), in LPS millimetres, with 0, 0, 0, 1 as its last
            row.
        steps: Of the network; by default what the model's card says.
        model: A shipped model, a file, or what :func:`mics.load_model` returned. For ``same_patient`` its card alone is read: how
            fine the network's grid is, and which network finds the organs.
        refine: How much work to spend on improving the network's prediction on this pair: ``"none"``, ``"fast"`` or
            ``"accurate"``.
        topology: ``"free"`` delivers the transforms as they come, ``"preserve"`` without any fold, changed as little as can be
            (:func:`mics.deformation.topology.preserve_topology`); the summary says where and by how much.
        stages: What follows the network's prediction, in this order, in place of what ``refine`` and ``topology`` stand for: the
            package's own, as :class:`~mics.registration.stages.instance_optimisation.InstanceOptimisation`, and any
            :class:`~mics.registration.stage.Stage` of yours. ``refine`` and ``topology`` are then left at their defaults, and
            stages that work on the transforms, as :class:`~mics.registration.stages.fold_removal.FoldRemoval`, come last. The
            summary has what they report under ``stages``.
        steer: What of labels and landmarks the refinement follows: ``"labels"`` (all that both label maps hold), ``"landmarks"``,
            and single labels by number or name. What steers cannot also judge the result; the summary says so.
        landmark_tolerance_mm: Landmarks that steer are brought as near to their counterparts as that, if nothing folds.
        same_patient: Two scans of one patient: the affine is rigid, the refinement begins at rest, without the network's
            prediction, and is stiffer, bones nearly rigid.
        fixed_lesions: Of one patient, a label map on its scan's grid with one id a lesion, the same in both. Lesions are not
            compared; the summary has a table of them.
        moving_lesions: The same of the moving scan.
        lesions: ``"keep"`` keeps their volume, ``"exclude"`` continues the deformation through them.
        device: ``"auto"``, ``"cpu"``, ``"cuda:N"`` or a ``torch.device``.
        progress: Called with a few words as each stage begins.

    Returns:
        Both transforms, each on the grid of the scan that it fills, displacements in LPS mm; the warped scans and label maps; and
        a summary of what is known about the result.

    Raises:
        InputError: One sentence, for bad input and unusable settings, before anything long begins where that can be known.
    """
    registrar = Registrar(
        affine=affine,
        steps=steps,
        model=model,
        refine=refine,
        topology=topology,
        stages=stages,
        steer=steer,
        landmark_tolerance_mm=landmark_tolerance_mm,
        same_patient=same_patient,
        lesions=lesions,
        device=device,
    )
    return registrar(
        fixed,
        moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        label_names=label_names,
        fixed_landmarks=fixed_landmarks,
        moving_landmarks=moving_landmarks,
        fixed_exclude=fixed_exclude,
        moving_exclude=moving_exclude,
        fixed_lesions=fixed_lesions,
        moving_lesions=moving_lesions,
        fixed_series=fixed_series,
        moving_series=moving_series,
        progress=progress,
    )
