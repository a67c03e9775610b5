"""How well a registration model does on the validation pairs of a prepared cohort."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from mics.data.manifest import Entry, read_manifest
from mics.errors import InputError
from mics.evaluation.learn2reg import from_transform
from mics.evaluation.pair_score import PairScore, score_pair
from mics.evaluation.summary import summarise
from mics.files.whole import write_text
from mics.image.io import read_image, read_labels
from mics.registration.register import register

RESULT = "evaluation.json"


def evaluate(
    prepared: Path, output: Path, *, model: Path, device: str, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Register every pair of validation subjects of ``prepared`` with the network alone, and write ``output/evaluation.json``.

    Scored as ``mics evaluate`` does. Returns what is written: the means of all measures, Dice30, and the figures of each pair.
    Raises :class:`InputError` where there is no pair.
    """
    subjects = [entry for entry in read_manifest(prepared) if entry.status == "prepared" and entry.split == "val"]
    if len(subjects) < 2:
        raise InputError(f"{prepared} has fewer than two subjects in the validation split: nothing can be evaluated.")
    scores = []
    for fixed, moving in combinations(subjects, 2):
        progress(f"{fixed.name}, {moving.name}")
        scores.append((fixed.name, moving.name, _score(prepared, fixed, moving, model, device)))
    summary = summarise([score for _, _, score in scores])
    result = {
        "model": str(model),
        "pairs": len(scores),
        **{name: estimate.value for name, estimate in summary.measures.items()},
        "dice30": None if summary.dice30 is None else summary.dice30.value,
        "by_pair": [{"fixed": fixed, "moving": moving, **score.to_dict()} for fixed, moving, score in scores],
    }
    output.mkdir(parents=True, exist_ok=True)
    write_text(json.dumps(result, indent=1) + "\n", output / RESULT)
    return result


def _score(prepared: Path, fixed: Entry, moving: Entry, model: Path, device: str) -> PairScore:
    scans = [read_image(prepared / entry.image) for entry in (fixed, moving)]
    fixed_labels, moving_labels = (read_labels(prepared / entry.labels) for entry in (fixed, moving))
    result = register(*scans, affine="none", model=model, refine="none", device=device)
    forward = from_transform(result.moving_to_fixed, scans[1].grid)
    backward = from_transform(result.fixed_to_moving, scans[0].grid)
    return score_pair(fixed_labels, moving_labels, forward, backward)
