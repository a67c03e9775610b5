"""What can be seen of a registration without anybody's labels: do organs, tissue and fields of view come together?

All figures are plain numbers, fit for JSON; :mod:`mics.registration.verdict` says what they mean.
"""

from typing import Any

import torch
from torch import Tensor

from mics.deformation.field import length, resize_displacement, warp
from mics.deformation.jacobian import jacobian_determinant
from mics.losses.overlap import expected_precision
from mics.network.displacements import Both
from mics.organs import AORTA, LEFT_KIDNEY, LIVER, ORGAN_NAMES, PANCREAS, RIGHT_KIDNEY, SPLEEN, STOMACH

_TISSUE = 0.11
"""Of the abdominal window in [0, 1], about -116 HU: above it lies fat and all that is denser."""
_MIN_ML = 30.0
"""Of an organ, found in both scans together: less is not scored."""
_FAT, _DENSE = 0.325, 0.75
"""Of the abdominal window: -30 HU, below which tissue is fat, and 140 HU, above which it is bone or enhanced."""
_LARGE = (SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, LIVER, STOMACH, AORTA)
_ABOVE = ((LIVER, RIGHT_KIDNEY), (SPLEEN, LEFT_KIDNEY))
_IN_FRONT = ((LIVER, AORTA), (STOMACH, AORTA), (PANCREAS, AORTA), (STOMACH, LEFT_KIDNEY), (LIVER, RIGHT_KIDNEY))
_ANTERIOR, _SUPERIOR = 1, 2
_CLEARLY_MM = 15.0


@torch.no_grad()
def gather(
    *,
    volumes: Both,
    organs: Both,
    valid: Tensor,
    displacements: Both,
    spacing_mm: float,
    scales: tuple[float, float] = (1.0, 1.0),
) -> dict[str, Any]:
    """Figures of one pair; the moving scan comes first everywhere, on a grid in LAS order of ``spacing_mm``.

    Args:
        volumes: HU windows (1, 3, X, Y, Z) in [0, 1] of both scans after the affine.
        organs: Soft organ maps (1, organs, X, Y, Z) of both.
        valid: Where either scan has data, (2, 1, X, Y, Z) in [0, 1].
        displacements: Moving to fixed, then fixed to moving, (1, 3, ...) in voxels, on any grid with the same outermost voxel
            centres.
        scales: How many times its volume what the grid shows of the moving and of the fixed scan has in the scan itself.

    Returns:
        ``organs`` (by name: ml in either scan itself, Dice with the affine alone and now, ``volume_ratio``: how many times its
        volume the moving organ has once it is warped, beyond the affine, as far as both scans show it), ``organ_overlap`` (of
        all organs together, twice the shared volume over the sum of volumes; ``affine``, ``result``), ``certainty``,
        ``large_organs`` (how many of six) and ``tissue_shares`` (of the body: ``fat`` below -30 HU, ``dense`` above 140 HU)
        of either scan, ``similarity`` (correlation of the abdominal windows over tissue;
        ``affine``, ``result``), ``body_without_data`` (share, by direction), ``disorder`` (by scan: pairs of organs that lie
        the wrong way round) and ``deformation`` (99th percentile in mm and SdLogJ within tissue).
    """
    shape = volumes[0].shape[2:]
    moving_to_fixed, fixed_to_moving = (
        resize_displacement(field.to(volumes[0].device), shape) for field in displacements
    )
    mask = valid.to(volumes[0].device) > 0.5
    tissue = [(volume[:, :1] > _TISSUE) & own for volume, own in zip(volumes, (mask[:1], mask[1:]), strict=True)]
    moving_valid, fixed_valid = _warped_mask(mask[:1], moving_to_fixed), _warped_mask(mask[1:], fixed_to_moving)
    both_before, both_after = mask[:1] & mask[1:], moving_valid & mask[1:]
    moved_window = warp(volumes[0][:, :1], moving_to_fixed)
    moved_tissue = moved_window > _TISSUE
    determinants = jacobian_determinant(moving_to_fixed)
    return {
        **_overlaps(organs, moving_to_fixed, determinants, both_before, both_after, spacing_mm**3 / 1000, scales),
        "certainty": {
            name: expected_precision_of_all(maps) for name, maps in zip(("moving", "fixed"), organs, strict=True)
        },
        "large_organs": {
            name: large_organs(maps, spacing_mm) for name, maps in zip(("moving", "fixed"), organs, strict=True)
        },
        "tissue_shares": {
            name: tissue_shares(volume[:, :1], own)
            for name, volume, own in zip(("moving", "fixed"), volumes, (mask[:1], mask[1:]), strict=True)
        },
        "similarity": {
            "affine": _correlation(volumes[0][:, :1], volumes[1][:, :1], (tissue[0] | tissue[1]) & both_before),
            "result": _correlation(moved_window, volumes[1][:, :1], (moved_tissue | tissue[1]) & both_after),
        },
        "body_without_data": {
            "moving_to_fixed": _share(~moving_valid, tissue[1]),
            "fixed_to_moving": _share(~fixed_valid, tissue[0]),
        },
        "disorder": {name: disorder(maps, spacing_mm) for name, maps in zip(("moving", "fixed"), organs, strict=True)},
        "deformation": _deformation(moving_to_fixed, determinants, tissue[1], spacing_mm),
    }


def disorder(organs: Tensor, spacing_mm: float) -> list[str]:
    """Which organs of maps (1, organs, X, Y, Z) in LAS order lie the wrong way round, a phrase each."""
    places = {organ: _place(organs[0, organ - 1], spacing_mm) for organ in range(1, organs.shape[1] + 1)}
    phrases, apart = [], _CLEARLY_MM / spacing_mm
    for pairs, axis, relation in ((_ABOVE, _SUPERIOR, "below"), (_IN_FRONT, _ANTERIOR, "behind")):
        for organ, other in pairs:
            first, second = places[organ], places[other]
            if first is not None and second is not None and second[axis] - first[axis] > apart:
                phrases.append(f"the {ORGAN_NAMES[organ]} {relation} the {ORGAN_NAMES[other]}")
    return phrases


def _overlaps(
    organs: Both,
    displacement: Tensor,
    determinants: Tensor,
    before: Tensor,
    after: Tensor,
    voxel_ml: float,
    scales: tuple[float, float],
) -> dict[str, Any]:
    moving, fixed = (maps > 0.5 for maps in organs)
    moved = warp(organs[0], displacement) > 0.5
    shares = {"affine": (moving, before), "result": (moved, after)}
    sums = {}
    for name, (own, seen) in shares.items():
        a, b = own & seen, fixed & seen
        sums[name] = (_count(a & b), _count(a) + _count(b))
    whole = {"moving_ml": _count(moving) * scales[0], "fixed_ml": _count(fixed) * scales[1]}
    per_organ: dict[str, Any] = {}
    for index in range(moving.shape[1]):
        if float(sums["affine"][1][index]) * voxel_ml < _MIN_ML:
            continue
        per_organ[ORGAN_NAMES[index + 1]] = {
            **{name: round(float(counts[index]) * voxel_ml, 1) for name, counts in whole.items()},
            **{f"dice_{name}": _dice(shared[index], total[index]) for name, (shared, total) in sums.items()},
            "volume_ratio": _volume_ratio((moved & after)[:, index], determinants, voxel_ml),
        }
    return {
        "organs": per_organ,
        "organ_overlap": {name: _dice(shared.sum(), total.sum()) for name, (shared, total) in sums.items()},
    }


def _volume_ratio(warped: Tensor, determinants: Tensor, voxel_ml: float) -> float | None:
    """Volume of an organ (1, X, Y, Z) after warping, over that of the same tissue before; None if less than 30 ml are seen."""
    # The determinant is the moving volume that comes into a voxel.
    before = determinants[warped].double().sum()
    if max(float(before), int(warped.sum())) * voxel_ml < _MIN_ML or float(before) <= 0:
        return None
    return round(float(warped.sum() / before), 3)


def tissue_shares(window: Tensor, valid: Tensor | None = None) -> dict[str, float | None]:
    """What the body consists of, by its values.

    Args:
        window: the abdominal window in [0, 1], of any shape.
        valid: where there are data, of the same shape, bool; None for everywhere.

    Returns:
        The shares of the body that are ``fat``, and ``dense``, bone or enhanced; None where there is no body.
    """
    tissue = window > _TISSUE
    body = window[tissue if valid is None else tissue & valid]
    if body.numel() == 0:
        return {"fat": None, "dense": None}
    shares = {"fat": body < _FAT, "dense": body > _DENSE}
    return {name: round(float(share.double().mean()), 3) for name, share in shares.items()}


def _deformation(
    displacement: Tensor, determinants: Tensor, tissue: Tensor, spacing_mm: float
) -> dict[str, float | None]:
    lengths = length(displacement)[tissue] * spacing_mm
    logs = determinants[tissue[:, 0]].clamp_min(1e-3).log()
    if len(logs) < 2:
        return {"percentile_99_mm": None, "sd_log_jacobian": None}
    return {
        "percentile_99_mm": round(float(torch.quantile(lengths[:: max(1, len(lengths) // 1_000_000)], 0.99)), 1),
        "sd_log_jacobian": round(float(logs.std()), 3),
    }


def expected_precision_of_all(maps: Tensor) -> float | None:
    """:func:`certainty` of all organs together, by volume: 1 where every voxel is surely of an organ or surely not."""
    mass = maps.sum((2, 3, 4))
    return round(float((expected_precision(maps) * mass).sum() / mass.sum()), 3) if float(mass.sum()) > 1 else None


def large_organs(maps: Tensor, spacing_mm: float) -> int:
    """How many of the six large organs are seen, with at least 30 ml."""
    least = _MIN_ML * 1000 / spacing_mm**3
    return sum(int((maps[0, organ - 1] > 0.5).sum()) >= least for organ in _LARGE)


def _place(soft: Tensor, spacing_mm: float) -> list[float] | None:
    """Centre of mass in voxels of what is surely the organ; None if less than 30 ml are."""
    voxels = (soft > 0.5).nonzero()
    return None if len(voxels) * spacing_mm**3 / 1000 < _MIN_ML else voxels.double().mean(0).tolist()


def _correlation(a: Tensor, b: Tensor, where: Tensor) -> float | None:
    values = torch.stack([a[where], b[where]]).double()
    if values.shape[1] < 2 or float(values.std(dim=1).min()) == 0:
        return None
    return round(float(torch.corrcoef(values)[0, 1]), 4)


def _warped_mask(mask: Tensor, displacement: Tensor) -> Tensor:
    return warp(mask.float(), displacement, padding="zeros") > 0.5


def _share(lost: Tensor, of: Tensor) -> float | None:
    return round(float((lost & of).sum() / of.sum()), 4) if bool(of.any()) else None


def _count(masks: Tensor) -> Tensor:
    return torch.stack([mask.count_nonzero() for mask in masks.unbind(1)]).double()


def _dice(shared: Tensor, total: Tensor) -> float | None:
    return round(float(2 * shared / total), 4) if float(total) > 0 else None
