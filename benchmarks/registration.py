"""Ours, ANTs SyN and greedy on the validation pairs of a Learn2Reg folder, both directions, measured by the same code.

    python benchmarks/registration.py AbdomenCTCT results/

`mics compare` with the methods that the README's table shows.
"""

import sys
from pathlib import Path

from mics.experiments.compare import compare

METHODS = ["unregistered", "affine", "network", "mics", "ants-syn", "greedy"]

print(compare(Path(sys.argv[1]), Path(sys.argv[2]), methods=METHODS, progress=print).table)
