"""How well a registration model does on the validation pairs of a prepared cohort."""

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mics.data.manifest import Entry, read_manifest, write_text
from mics.errors import InputError
from mics.evaluation.learn2reg import from_transform, score
from mics.evaluation.metrics import dice30
from mics.image.io import read_image, read_labels
from mics.registration.pipeline import register

RESULT = "evaluation.json"


def evaluate(
    prepared: Path, output: Path, *, model: Path, device: str, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Register every pair of validation people of ``prepared`` with the network alone, and write ``output/evaluation.json``.

    Scored as the Learn2Reg challenge does. Returns what is written: Dice, Dice30, Hd95 and SdLogJ over all pairs, and the
    figures of each pair. Raises :class:`InputError` where there is no pair.
    """
    people = [entry for entry in read_manifest(prepared) if entry.status == "prepared" and entry.split == "val"]
    if len(people) < 2:
        raise InputError(f"{prepared} has fewer than two people in the validation split: nothing can be evaluated.")
    pairs = []
    for fixed, moving in combinations(people, 2):
        progress(f"{fixed.name}, {moving.name}")
        pairs.append({"fixed": fixed.name, "moving": moving.name, **_pair(prepared, fixed, moving, model, device)})
    means = [float(np.mean(list(pair["dice"].values()))) for pair in pairs]
    result = {
        "model": str(model),
        "pairs": len(pairs),
        "dice": float(np.mean(means)),
        "dice30": dice30(means),
        "hd95_voxels": float(np.mean([np.mean(list(pair["hd95_voxels"].values())) for pair in pairs])),
        "sd_log_jacobian": float(np.mean([pair["sd_log_jacobian"] for pair in pairs])),
        "by_pair": pairs,
    }
    output.mkdir(parents=True, exist_ok=True)
    write_text(json.dumps(result, indent=1) + "\n", output / RESULT)
    return result


def _pair(prepared: Path, fixed: Entry, moving: Entry, model: Path, device: str) -> dict[str, Any]:
    scans = [read_image(prepared / entry.image) for entry in (fixed, moving)]
    fixed_labels, moving_labels = (read_labels(prepared / entry.labels) for entry in (fixed, moving))
    result = register(*scans, affine="none", model=model, refine=False, device=device)
    displacement = from_transform(result.moving_to_fixed, scans[1].grid)
    return asdict(score(fixed_labels, moving_labels, displacement, sorted(set(fixed.organs) & set(moving.organs))))
