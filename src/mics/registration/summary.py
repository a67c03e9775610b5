"""What a registration says about itself, as plain data."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.deformation.provenance import KnownScan, Provenance
from mics.image.points import Points
from mics.registration.checksums import environment, pair_checksums
from mics.registration.inputs import Scan
from mics.registration.pair import Pair
from mics.registration.result import Registration
from mics.registration.settings import Settings
from mics.registration.stage import State
from mics.registration.stage_order import plan
from mics.registration.stages.fold_removal import FoldRemoval
from mics.registration.timing import Timing, peak_memory_gb
from mics.registration.verdict import Verdict
from mics.run_summary import SCHEMA_VERSION, RunSummary

_MAX_FOLDS = 1e-3
_USUAL_SCALE = (1 / 1.6, 1.6)
"""The same whichever scan is fixed."""
_MIN_SHARED = 0.25


def summarise(
    state: State,
    settings: Settings,
    *,
    landmarks: tuple[Points, Points] | None,
    found: Mapping[str, Any],
    verdict: Verdict,
    timing: Timing,
) -> dict[str, Any]:
    """A finished registration in plain data (:class:`RunSummary`).

    ``landmarks`` fixed, then moving; ``found`` is what comes of measuring, by key.
    """
    summary = {
        **_described(state.scans, settings, landmarks),
        "verdict": {
            "word": verdict.word,
            "reasons": [_without_folders(one, state, settings) for one in verdict.reasons],
        },
        **found,
        **_reported(state, settings),
        "evidence": state.evidence,
        "seconds": timing.times(),
        "peak_memory_gb": peak_memory_gb(settings.device),
        "environment": environment(settings.device),
        "warnings": [_without_folders(one, state, settings) for one in state.warnings],
    }
    RunSummary.model_validate(summary)
    return summary


def describe_geometry(state: State) -> dict[str, Any]:
    """The affine, the network's grid, and the shares of that grid that the moving, the fixed, and both scans show."""
    moving, fixed = state.in_view.moving, state.in_view.fixed
    shares = {"moving_share": moving, "fixed_share": fixed, "shared_by_both": moving & fixed}
    return {
        "affine_fixed_to_moving_lps_mm": np.round(state.affine, 6).tolist(),
        "network_grid": state.grid.to_dict(),
        "half_way_to_fixed_lps_mm": np.round(state.to_scans.fixed, 6).tolist(),
        "half_way_to_moving_lps_mm": np.round(state.to_scans.moving, 6).tolist(),
        "field_of_view": {name: round(float(mask.mean()), 4) for name, mask in shares.items()},
    }


def quality_warnings(affine: NDArray[np.float64], geometry: dict[str, Any], folds: dict[str, float]) -> list[str]:
    """Warnings that should make the reader look twice."""
    shared = geometry["field_of_view"]["shared_by_both"]
    scales = np.linalg.svd(affine[:3, :3], compute_uv=False)
    messages = []
    if np.linalg.det(affine[:3, :3]) < 0:
        messages.append("The affine mirrors the patient: check the headers of both scans.")
    if scales.min() < _USUAL_SCALE[0] or scales.max() > _USUAL_SCALE[1]:
        messages.append(
            f"The affine scales by {scales.min():.2f} to {scales.max():.2f}, which is much between two adults: "
            "look at the overview before using the result."
        )
    if shared < _MIN_SHARED:
        messages.append(
            f"Both scans show only {shared:.0%} of the region that was registered: beyond it, the deformation is "
            "a continuation."
        )
    delivered = max(folds["moving_to_fixed"], folds["fixed_to_moving"])
    if delivered > _MAX_FOLDS:
        messages.append(f"The deformation folds at {delivered:.2%} of the voxels.")
    return messages


def completed(result: Registration, summary: dict[str, Any]) -> Registration:
    """The registration with summary, and with transforms that know where they come from: no name and no path of the user's."""
    settings = summary["settings"]
    affine = settings["affine"]
    made = {
        "mics_version": summary["mics_version"],
        "finished": summary["finished"],
        "settings": {**settings, "affine": affine if affine in ("organs", "ants", "none", "array") else "file"},
        "affine_fixed_to_moving_lps_mm": summary["geometry"]["affine_fixed_to_moving_lps_mm"],
    }
    known = {
        role: KnownScan(scan.grid, summary["inputs"][role]["voxels_sha256"])
        for role, scan in (("fixed", result.fixed), ("moving", result.moving))
    }
    to_fixed, to_moving = Provenance("moving", "fixed", known, made), Provenance("fixed", "moving", known, made)
    return replace(
        result,
        moving_to_fixed=result.moving_to_fixed.known_as(to_fixed),
        fixed_to_moving=result.fixed_to_moving.known_as(to_moving),
        summary=summary,
    )


def _described(scans: Pair[Scan], settings: Settings, landmarks: tuple[Points, Points] | None) -> dict[str, Any]:
    """What went in: version and time, files' names (None for arrays), geometry and checksums, settings, models likewise."""
    known = pair_checksums(scans, landmarks)
    return {
        "schema_version": SCHEMA_VERSION,
        "mics_version": version("mics-registration"),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": {
            role: {
                "path": _own_name(scan.path),
                "labels": _own_name(scan.labels_path),
                "exclude": _own_name(scan.exclude_path),
                "lesions": _own_name(scan.lesions_path),
                "grid": scan.image.grid.to_dict(),
                **known[role],
            }
            for role, scan in (("fixed", scans.fixed), ("moving", scans.moving))
        },
        "settings": {**settings.to_dict(), "affine": _own_name(settings.affine_source)},
    }


def _own_name(path: str | None) -> str | None:
    """The name of a file without its folders: these often are called by the patient."""
    if path is None:
        return None
    return Path(path).name if Path(path).name not in ("", "..") else Path(path).resolve().name


def _without_folders(message: str, state: State, settings: Settings) -> str:
    """The sentence with the files that were given by their own names."""
    scans = (state.scans.fixed, state.scans.moving)
    given = [path for scan in scans for path in (scan.path, scan.labels_path, scan.exclude_path, scan.lesions_path)]
    for path in sorted(
        {path for path in (*given, settings.affine_source) if path and "/" in path}, key=len, reverse=True
    ):
        message = message.replace(path, str(_own_name(path)))
    return message


def _reported(state: State, settings: Settings) -> dict[str, Any]:
    """What the stages say: the certificates of transforms without folds, None without; and what each given stage reports."""
    reports = state.reports
    unfolding = [stage.name for stage in plan(settings) if isinstance(stage, FoldRemoval)]
    parts: dict[str, Any] = {"topology": reports[unfolding[0]] if unfolding else None}
    if settings.stages is not None:
        parts["stages"] = {stage.name: reports.get(stage.name, {}) for stage in settings.stages}
    return parts
