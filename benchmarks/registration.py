"""Ours, ANTs SyN and greedy on the validation pairs of a Learn2Reg folder, both directions, measured by the same code.

    python benchmarks/registration.py AbdomenCTCT results/

`mics compare` with the methods that the README's table shows.
"""

import argparse
from pathlib import Path

from mics.experiments.compare import compare

METHODS = ["unregistered", "affine", "network", "mics", "ants-syn", "greedy"]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("pairs", type=Path, help="folder of a Learn2Reg dataset, or a CSV file of pairs")
parser.add_argument("results", type=Path, help="folder for the results; a run that was cut off goes on there")
arguments = parser.parse_args()
print(compare(arguments.pairs, arguments.results, methods=METHODS, progress=print).table)
