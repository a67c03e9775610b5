"""All measures of one pair: the same code for every method, whoever made the deformation."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mics.deformation.jacobian import nondiffeomorphic_volume, volume_change
from mics.errors import GeometryError
from mics.evaluation.consistency import inverse_consistency_mm
from mics.evaluation.landmarks import refuse_unlike_lists, registration_errors
from mics.evaluation.learn2reg import text, to_transform, warp_labels
from mics.evaluation.metrics import dice, sd_log_jacobian, surface_agreement
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points
from mics.image.resample import resample

Displacement = NDArray[np.floating]
_BY_LABEL = ("dice", "hd95_voxels", "hd95_mm", "mda_mm", "initial_dice")


@dataclass(frozen=True)
class PairScore:
    """The measures of one pair; None where there is nothing to measure with, and lengths in mm unless named otherwise.

    ``dice``, ``hd95_voxels``, ``hd95_mm``, ``mda_mm`` (mean distance to agreement): by label, for the labels that both scans
    show; a label that the deformation pushed out of view has Dice 0 and infinite distances. ``landmark_mm``: the distance of each
    landmark from its place. ``jacobian_min``, ``jacobian_max``: the range of the determinant by central differences.
    ``initial_dice``: by label, before the registration, as the scans' headers place them. Records of older versions have
    neither these nor ``mda_mm``.
    """

    dice: dict[int, float]
    hd95_voxels: dict[int, float]
    hd95_mm: dict[int, float]
    sd_log_jacobian: float
    fold_share: float
    nondiffeomorphic_percent: float
    inverse_mean_mm: float | None
    inverse_max_mm: float | None
    landmark_mm: tuple[float, ...] | None
    seconds: float | None = None
    mda_mm: dict[int, float] = field(default_factory=dict)
    jacobian_min: float | None = None
    jacobian_max: float | None = None
    initial_dice: dict[int, float] = field(default_factory=dict)

    def measures(self) -> dict[str, float | None]:
        """One number a measure (see :data:`mics.evaluation.summary.MEASURES`); those by label are means over the labels."""
        return {
            "dice": _mean(self.dice),
            "hd95_voxels": _mean(self.hd95_voxels),
            "hd95_mm": _mean(self.hd95_mm),
            "mda_mm": _mean(self.mda_mm),
            "sd_log_jacobian": self.sd_log_jacobian,
            "jacobian_min": self.jacobian_min,
            "jacobian_max": self.jacobian_max,
            "fold_percent": 100 * self.fold_share,
            "nondiffeomorphic_percent": self.nondiffeomorphic_percent,
            "inverse_mean_mm": self.inverse_mean_mm,
            "inverse_max_mm": self.inverse_max_mm,
            "landmark_mm": None if self.landmark_mm is None else float(np.mean(self.landmark_mm)),
            "landmark_max_mm": None if self.landmark_mm is None else max(self.landmark_mm),
            "seconds": self.seconds,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON, where an infinite distance is None; :meth:`from_dict` reads it back."""
        values = dict(vars(self))
        for name in _BY_LABEL:
            values[name] = {str(k): v if np.isfinite(v) else None for k, v in values[name].items()}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PairScore":
        """The score that :meth:`to_dict` described."""
        by_label = {
            name: {int(k): float("inf") if v is None else v for k, v in values.get(name, {}).items()}
            for name in _BY_LABEL
        }
        landmarks = values["landmark_mm"]
        return cls(**{**values, **by_label, "landmark_mm": None if landmarks is None else tuple(landmarks)})


def score_pair(
    fixed_labels: Image,
    moving_labels: Image,
    forward: Displacement,
    backward: Displacement | None = None,
    *,
    landmarks: tuple[Points, Points] | None = None,
    seconds: float | None = None,
) -> PairScore:
    """Measure one deformation as the Learn2Reg script does, and what that script leaves out.

    ``forward`` is ``(3, X, Y, Z)`` on the fixed grid: voxel x is filled from ``x + forward(x)``, in voxels of the moving
    grid. ``backward`` lies on the moving grid, in voxels of the fixed one; without it there is no inverse-consistency
    error. ``landmarks`` are of the fixed and the moving scan, matched by their order; a fixed one is taken to
    ``x + forward(x)``.

    Every label above 0 that both scans show is scored. Folds, SdLogJ and the non-diffeomorphic volume are those of the map
    in the patient's space (on grids of one spacing and orientation, as in the challenge: of the voxels). Raises
    InputError where sizes or numbers of landmarks do not fit.
    """
    if forward.shape != (3, *fixed_labels.grid.size):
        raise GeometryError(
            f"The displacement covers {text(forward.shape[1:])} voxels, the fixed labels "
            f"{text(fixed_labels.grid.size)}; give those of one pair."
        )
    grids = {"fixed": fixed_labels.grid, "moving": moving_labels.grid}
    fixed, moving = fixed_labels.array, moving_labels.array
    labels = sorted((set(np.unique(fixed).tolist()) & set(np.unique(moving).tolist())) - {0})
    warped = warp_labels(moving, forward)
    spacing = fixed_labels.grid.spacing
    present = np.array(labels)
    mm = surface_agreement(fixed, warped, labels, spacing, moving_labels=present)
    if max(spacing) - min(spacing) < 1e-6:
        voxels = {label: found.hd95 / spacing[0] for label, found in mm.items()}
    else:
        in_voxels = surface_agreement(fixed, warped, labels, moving_labels=present)
        voxels = {label: found.hd95 for label, found in in_voxels.items()}
    own = _in_own_voxels(forward, **grids)
    displacement = torch.from_numpy(np.ascontiguousarray(own, dtype=np.float32))[None]
    volumes = volume_change(displacement)
    before = moving
    if not fixed_labels.grid.is_close(moving_labels.grid, 1e-3):
        before = resample(moving_labels, fixed_labels.grid, np.eye(4), nearest=True, outside=0).array
    mean, largest = _inverse_error(forward, backward, **grids)
    return PairScore(
        dice=dice(fixed, warped, labels, moving_labels=present),
        hd95_voxels=voxels,
        hd95_mm={label: found.hd95 for label, found in mm.items()},
        mda_mm={label: found.mda for label, found in mm.items()},
        sd_log_jacobian=sd_log_jacobian(own),
        fold_share=volumes.fold_share,
        jacobian_min=volumes.least,
        jacobian_max=volumes.largest,
        nondiffeomorphic_percent=nondiffeomorphic_volume(displacement),
        inverse_mean_mm=mean,
        inverse_max_mm=largest,
        landmark_mm=None if landmarks is None else _landmark_error(forward, landmarks, **grids),
        seconds=seconds,
        initial_dice=dice(fixed, before, labels, moving_labels=present),
    )


def _in_own_voxels(forward: Displacement, *, fixed: Grid, moving: Grid) -> Displacement:
    """The displacement in the fixed grid's voxels, up to a constant, which no derivative sees."""
    rotation = fixed.inverse_matrix[:3, :3] @ moving.matrix[:3, :3]
    if np.allclose(rotation, np.eye(3), atol=1e-6):
        return forward
    voxels = np.indices(fixed.size, dtype=np.float32)
    return np.asarray(np.tensordot(rotation.astype(np.float32), forward + voxels, axes=1) - voxels)


def _inverse_error(
    forward: Displacement, backward: Displacement | None, *, fixed: Grid, moving: Grid
) -> tuple[float | None, float | None]:
    if backward is None:
        return None, None
    moving_to_fixed = to_transform(forward, target=fixed, source=moving)
    fixed_to_moving = to_transform(backward, target=moving, source=fixed)
    mean, largest = inverse_consistency_mm(moving_to_fixed, fixed_to_moving)
    return (mean, largest) if np.isfinite(mean) else (None, None)


def _landmark_error(
    forward: Displacement, landmarks: tuple[Points, Points], *, fixed: Grid, moving: Grid
) -> tuple[float, ...]:
    fixed_points, moving_points = landmarks
    refuse_unlike_lists(fixed_points, moving_points)
    transform = to_transform(forward, target=fixed, source=moving)
    return tuple(registration_errors(transform.transform_points(fixed_points.coordinates), moving_points).tolist())


def _mean(by_label: dict[int, float]) -> float | None:
    return float(np.mean(list(by_label.values()))) if by_label else None
