"""Accuracy, regularity, time and memory of ours and of other tools on the validation pairs of a Learn2Reg folder.

    python benchmarks/registration.py path/to/AbdomenCTCT --output results/

Every validation pair in both directions. One ANTs affine a pair is computed first and given to every method, so that
what is compared is the deformable part; its time has its own row. Each (method, pair) runs in a process of its own, for
its peak memory, and is one line of results.jsonl: an interrupted run goes on where it stopped, and a cell whose line is
deleted is computed again. The methods only deliver displacements; they are measured by the same code.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.data.cohorts.learn2reg import Case, open_learn2reg
from mics.data.organs import ORGAN_NAMES
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image

# What measures (torch, mostly) is imported after a method's peak memory has been read.


@dataclass(frozen=True)
class Outcome:
    """What a method delivers: displacements (3, X, Y, Z) in voxels, and the seconds without the affine."""

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    seconds: float
    details: dict[str, Any] | None = None
    """Of ours: the models with their checksums, and the seconds of every stage."""


def unregistered(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """The pair as the challenge gives it."""
    forward, backward = (np.zeros((3, *volume.grid.size), np.float32) for volume in (fixed, moving))
    return Outcome(forward, backward, seconds=0.0)


def affine_alone(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """The affine that all others start from."""
    forward = _affine_displacement(fixed.grid, moving.grid, affine)
    return Outcome(forward, _affine_displacement(moving.grid, fixed.grid, np.linalg.inv(affine)), seconds=0.0)


def network(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """Our default model without refinement."""
    return _ours(fixed, moving, affine, refine=False)


def refined(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """Our default: what the command does."""
    return _ours(fixed, moving, affine, refine=True)


def ants_syn(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """ANTs SyN, antspyx's defaults."""
    from mics.experiments import peers

    return Outcome(**asdict(peers.ants_syn(fixed, moving, affine)))


def greedy(fixed: Image, moving: Image, affine: NDArray[np.float64]) -> Outcome:
    """Greedy with NCC 4x4x4 and 100x60x20 iterations."""
    from mics.experiments import peers

    return Outcome(**asdict(peers.greedy(fixed, moving, affine)))


METHODS: dict[str, Callable[[Image, Image, NDArray[np.float64]], Outcome]] = {
    "unregistered": unregistered,
    "affine": affine_alone,
    "network": network,
    "mics": refined,
    "ants-syn": ants_syn,
    "greedy": greedy,
}


def _affine_displacement(source: Grid, target: Grid, affine: NDArray[np.floating]) -> NDArray[np.float32]:
    in_voxels = target.inverse_matrix @ affine @ source.matrix
    voxels = np.indices(source.size, dtype=np.float32)
    place = np.tensordot(in_voxels[:3, :3], voxels, axes=1) + in_voxels[:3, 3].reshape(3, 1, 1, 1)
    return np.asarray(place - voxels, dtype=np.float32)


def _ours(fixed: Image, moving: Image, affine: NDArray[np.float64], *, refine: bool) -> Outcome:
    from mics.registration.pipeline import register

    with TemporaryDirectory() as folder:
        path = Path(folder) / "affine.tfm"
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(affine[:3, :3].ravel())
        transform.SetTranslation(affine[:3, 3])
        sitk.WriteTransform(transform, str(path))
        start = time.perf_counter()
        result = register(fixed, moving, affine=str(path), refine=refine)
        seconds = time.perf_counter() - start
    from mics.evaluation.learn2reg import from_transform

    return Outcome(
        forward=from_transform(result.moving_to_fixed, moving.grid),
        backward=from_transform(result.fixed_to_moving, fixed.grid),
        seconds=seconds,
        details={name: result.summary[name] for name in ("settings", "seconds")},
    )


def run_cell(method: str, fixed_case: Case, moving_case: Case, affine: list[list[float]] | None) -> dict[str, Any]:
    """One method on one pair: its figures, ready for a line of results.jsonl."""
    load = os.getloadavg()[0]
    fixed, moving = fixed_case.image(), moving_case.image()
    seconds_of_affine = 0.0
    if method == "affine":
        from mics.registration.affine import register_affine

        start = time.perf_counter()
        affine = register_affine(fixed, moving).tolist()
        seconds_of_affine = time.perf_counter() - start
    outcome = METHODS[method](fixed, moving, np.eye(4) if affine is None else np.array(affine))
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "method": method,
        "fixed": fixed_case.number,
        "moving": moving_case.number,
        "affine": affine,
        "seconds": outcome.seconds,
        "affine_seconds": seconds_of_affine,
        "peak_memory_gb": peak / 1e9,
        "load_before": load,
        "details": outcome.details,
        **measure(outcome, fixed_case, moving_case),
    }


def measure(outcome: Outcome, fixed_case: Case, moving_case: Case) -> dict[str, Any]:
    """Figures of a pair of displacements, the same code for every method."""
    from mics.evaluation.pair import score_pair

    score = score_pair(fixed_case.labels(), moving_case.labels(), outcome.forward, outcome.backward)
    return {name: value for name, value in score.to_dict().items() if name not in ("seconds", "landmark_mm")}


def table(records: list[dict[str, Any]], methods: list[str]) -> str:
    """The records as a Markdown table, one row a method, means over its pairs."""
    columns = [
        "method",
        "pairs",
        "Dice",
        "Dice30",
        "Hd95 (voxel)",
        "Hd95 (mm)",
        "SdLogJ",
        "J <= 0 (%)",
        "non-diffeomorphic (%)",
    ]
    columns += ["inverse error, mean (max), mm", "seconds", "affine seconds", "peak memory (GB)"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for method in methods:
        cells = [record for record in records if record["method"] == method]
        if not cells:
            continue

        def mean(key: str, cells: list[dict[str, Any]] = cells) -> float:
            return float(np.mean([cell[key] for cell in cells]))

        overlaps = [float(np.mean(list(cell["dice"].values()))) for cell in cells]
        distances = {
            u: np.mean([np.mean(list(cell[f"hd95_{u}"].values())) for cell in cells]) for u in ("voxels", "mm")
        }
        worst = max(cell["inverse_max_mm"] for cell in cells)
        row = [method, str(len(cells)), f"{np.mean(overlaps):.3f}", f"{np.quantile(overlaps, 0.3):.3f}"]
        row += [
            f"{distances['voxels']:.1f}",
            f"{distances['mm']:.1f}",
            f"{mean('sd_log_jacobian'):.3f}",
            f"{100 * mean('fold_share'):.4f}",
        ]
        row += [f"{mean('nondiffeomorphic_percent'):.4f}", f"{mean('inverse_mean_mm'):.2f} ({worst:.1f})"]
        row += [f"{mean('seconds'):.1f}", f"{mean('affine_seconds'):.1f}", f"{mean('peak_memory_gb'):.1f}"]
        lines.append("| " + " | ".join(row) + " |")
    cores = os.cpu_count() or 1
    lines += ["", f"{platform.machine()}, {cores} cores; Dice and Hd95 over {len(ORGAN_NAMES)} organs."]
    busy = sum(record["load_before"] > cores / 2 for record in records)
    if busy:
        lines.append(
            f"{busy} of {len(records)} cells began on a busy machine (load above half the cores): times are high."
        )
    return "\n".join(lines)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Finished cells."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> int:
    """Run what is missing, cell by cell, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Learn2Reg AbdomenCTCT folder")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.jsonl, table.md and logs")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"comma-separated, of {', '.join(METHODS)}")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS, metavar=("METHOD", "FIXED", "MOVING"))
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - METHODS.keys():
        parser.error(f"unknown methods {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    try:
        dataset = open_learn2reg(options.folder)
    except InputError as error:
        parser.error(str(error))
    results = options.output / "results.jsonl"
    done = {(r["method"], r["fixed"], r["moving"]): r for r in read_records(results)}
    if options.cell:
        method, fixed, moving = options.cell
        affine = done.get(("affine", fixed, moving), {}).get("affine")
        record = run_cell(method, dataset.cases[fixed], dataset.cases[moving], affine)
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        return 0

    logs = options.output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    failed = set()
    for fixed_case, moving_case in dataset.ordered_validation_pairs:
        for method in sorted({"affine", *methods}, key=list(METHODS).index):
            cell = (method, fixed_case.number, moving_case.number)
            if cell in done or ("affine", *cell[1:]) in failed:
                continue
            print(*cell, flush=True)
            with (logs / f"{'_'.join(cell)}.log").open("w") as log:
                cell_of = [sys.executable, __file__, options.folder, "--output", options.output, "--cell", *cell]
                finished = subprocess.run(cell_of, stdout=log, stderr=subprocess.STDOUT, check=False)
            if finished.returncode:
                failed.add(cell)
                print(f"  failed, see {log.name}", flush=True)
    text = table(read_records(results), [m for m in METHODS if m in {"affine", *methods}])
    (options.output / "table.md").write_text(text + "\n")
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
