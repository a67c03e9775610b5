"""Pairs an hour of `mics register --pairs` against a loop of `mics register`, on this machine.

    python benchmarks/batch.py PAIRS FOLDER [--pairs 4] [--workers 1 2] [-- OPTIONS]

PAIRS: a list or a Learn2Reg folder, as of `mics register --pairs`; its first so many pairs are registered. FOLDER: new, for the
results. OPTIONS go to both. The loop and the batch write the same files, but that the batch stores transforms within 0.05 mm;
whatever else the machine does meanwhile counts against whichever runs: compare on an idle one.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from mics.batch.listing import as_csv, listed_pairs


def main() -> None:
    """Run the loop, then the batch with each number of workers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("options", nargs="*")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True)
    pairs = listed_pairs(chosen.source)[: chosen.pairs]
    listed = chosen.folder / "pairs.csv"
    listed.write_text(as_csv(pairs), encoding="utf-8")
    mics = [sys.executable, "-m", "mics", "register"]

    began = time.perf_counter()
    for pair in pairs:
        files = pair.files
        labels = [
            f"--{key.replace('_', '-')}={files[key]}" for key in ("fixed_labels", "moving_labels") if key in files
        ]
        scans = [str(files["fixed_image"]), str(files["moving_image"])]
        subprocess.run(
            [*mics, *scans, "-o", str(chosen.folder / "loop" / pair.name), *labels, *chosen.options], check=True
        )
    seconds = {"a loop": time.perf_counter() - began}
    for workers in chosen.workers:
        out = chosen.folder / f"batch-{workers}"
        began = time.perf_counter()
        command = [*mics, "--pairs", str(listed), "-o", str(out), "--workers", str(workers), *chosen.options]
        subprocess.run(command, check=True)
        seconds[f"a batch, workers: {workers}"] = time.perf_counter() - began

    print(f"{len(pairs)} pairs, {os.cpu_count()} cores, load before and meanwhile {os.getloadavg()[2]:.1f}")
    print("| way | seconds | pairs an hour | times the loop | transforms, MB a pair |")
    print("|---|---|---|---|---|")
    for method, took in seconds.items():
        place = chosen.folder / ("loop" if method == "a loop" else f"batch-{method.split()[-1]}")
        size = sum(file.stat().st_size for file in place.glob("*/transform_*.nii.gz")) / 1e6 / len(pairs)
        rate = 3600 * len(pairs) / took
        print(f"| {method} | {took:.0f} | {rate:.0f} | {seconds['a loop'] / took:.2f} | {size:.1f} |")


if __name__ == "__main__":
    main()
