"""How fast preparation is, how much memory a worker takes, and how both grow with the workers.

    python benchmarks/generated_cohorts.py generated --subjects 4 --spacing 2
    python benchmarks/prepare.py learn2reg=generated/learn2reg kits19=generated/kits19 --workers 1 2

Every number of workers prepares all cases anew, in a process of its own, for its peak memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory


def measure(cohorts: list[str], workers: int, spacing: float, size: tuple[int, int, int]) -> dict[str, float]:
    """Seconds for all cases, and the largest memory of a worker in GB."""
    from mics.cli.prepare import places
    from mics.data.cohorts.catalogue import open_cohorts
    from mics.data.prepare import prepare
    from mics.registration.affine import register_affine

    load = os.getloadavg()[0]
    opened = open_cohorts(places(cohorts))
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        entries = prepare(opened, Path(folder), affine=register_affine, workers=workers, spacing_mm=spacing, size=size)
        seconds = time.perf_counter() - start
    done = sum(entry.status == "prepared" for entry in entries)
    # With one worker this process does the work; kilobytes on Linux, bytes on macOS.
    usage = resource.getrusage(resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {"workers": workers, "cases": done, "seconds": seconds, "memory_gb": memory, "load_before": load}


def main() -> None:
    """Measure each number of workers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--spacing", type=float, default=2.0, help="mm")
    parser.add_argument("--size", type=int, nargs=3, default=(192, 160, 256))
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measure(options.cohorts, options.workers[0], options.spacing, tuple(options.size))))
        return
    print(
        "| workers | cases | cases per minute | per worker | memory of a worker, GB | load before |\n|---|---|---|---|---|---|"
    )
    for workers in options.workers:
        settings = ["--spacing", str(options.spacing), "--size", *map(str, options.size), "--workers", str(workers)]
        cell = [sys.executable, __file__, *options.cohorts, *settings, "--cell"]
        finished = subprocess.run(cell, capture_output=True, encoding="utf-8", check=True)
        found = json.loads(finished.stdout.splitlines()[-1])
        rate = 60 * found["cases"] / found["seconds"]
        print(
            f"| {workers} | {found['cases']} | {rate:.1f} | {rate / workers:.1f} | {found['memory_gb']:.2f} "
            f"| {found['load_before']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
