"""One method on one pair, in a process of its own: ``python -m mics.experiments.cell JSON``.

A process of its own tells what memory the method needed, and one that crashes takes nothing else with it.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mics.data.pairs import PairSource, read_pairs
from mics.experiments.baselines.methods import Choice, run
from mics.experiments.own_process import end_with
from mics.files.whole import write_text
from mics.image.available import resident_peak_gb


@dataclass(frozen=True)
class CellTask:
    """What a process is to do: ``choice`` on the pair ``name`` of the list ``pairs``; the result goes to ``output``.

    ``adapter``: the method's, which this process need not know by name. ``affine`` (4, 4) as lists; None to compute it, which
    only the method ``affine`` does. ``made_of``: what the result depends on, written beside it. ``parent``: the process that
    waits for it.
    """

    pairs: str
    both_directions: bool
    name: str
    method: str
    adapter: str
    model: str | None
    affine: list[list[float]] | None
    output: str
    made_of: dict[str, Any]
    parent: int


def work(task: CellTask) -> None:
    """Register and measure; writes the figures as JSON, whole or not at all."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    pair = next(p for p in read_pairs(task.pairs, both_directions=task.both_directions) if p.name == task.name)
    fixed, moving = pair.fixed.image(), pair.moving.image()
    affine, seconds_of_affine = task.affine, 0.0
    if affine is None:
        from mics.registration.device import choose_device
        from mics.registration.organ_affine import register_affine_by_organs

        start = time.perf_counter()
        affine = register_affine_by_organs(fixed=fixed, moving=moving, device=choose_device("auto")).tolist()
        seconds_of_affine = time.perf_counter() - start
    outcome = run(Choice(task.method, task.model), fixed, moving, np.array(affine), task.adapter)
    # What measures comes after the method's peak memory has been read.
    memory = {"memory_gb": resident_peak_gb(children=True), "gpu_memory_gb": _gpu_memory_gb()}
    record = {
        "method": task.method,
        "model": task.model,
        "made_of": task.made_of,
        "fixed": pair.fixed.name,
        "moving": pair.moving.name,
        "affine": affine,
        "affine_seconds": seconds_of_affine,
        **memory,
        "load_before": load,
        "details": outcome.details,
        "score": _score(pair, outcome.forward, outcome.backward, outcome.seconds),
    }
    write_text(json.dumps(record) + "\n", Path(task.output))


def to_argument(task: CellTask) -> str:
    """The task as the process's argument."""
    return json.dumps(asdict(task))


def _score(pair: PairSource, forward: Any, backward: Any, seconds: float) -> dict[str, Any]:
    from mics.evaluation.evaluate import landmarks_of
    from mics.evaluation.pair_score import score_pair

    labels = pair.fixed.labels(), pair.moving.labels()
    return score_pair(*labels, forward, backward, landmarks=landmarks_of(pair), seconds=seconds).to_dict()


def _gpu_memory_gb() -> float | None:
    """Largest memory that torch has held on the GPU, in GB."""
    if "torch" not in sys.modules:
        return None
    import torch

    return torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() else None


if __name__ == "__main__":
    task = CellTask(**json.loads(sys.argv[1]))
    end_with(task.parent)
    work(task)
