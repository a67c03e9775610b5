"""What it takes to open the folds of a finished registration, in both directions.

    mics register fixed.nii.gz moving.nii.gz -o out --refine none
    python benchmarks/topology.py out

Prints the certificate of each transform and the processor's seconds, which do not count what else the machine does.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from mics.deformation.topology import preserve_topology
from mics.deformation.transform import Transform


def main() -> None:
    """Both transforms of one registration's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `mics register` wrote")
    folder = parser.parse_args().folder
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    affine = np.array(summary["geometry"]["affine_fixed_to_moving_lps_mm"])
    for name, linear in (("moving_to_fixed", affine), ("fixed_to_moving", np.linalg.inv(affine))):
        transform = Transform.load(folder / f"transform_{name}.nii.gz")
        began = time.process_time()
        _, certificate = preserve_topology(transform, linear)
        print(name, *transform.grid.size)
        print(f"  processor_seconds: {time.process_time() - began:.0f}")
        for key, value in dataclasses.asdict(certificate).items():
            print(f"  {key}: {value:.3g}" if isinstance(value, float) else f"  {key}: {value}")


if __name__ == "__main__":
    main()
