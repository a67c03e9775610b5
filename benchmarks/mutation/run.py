"""Faults put into the code, one at a time: do the tests notice?

    python benchmarks/mutation/run.py out/mutation                                   # 40 from each of the four packages
    python benchmarks/mutation/run.py out/mutation --packages losses --each 100
    python benchmarks/mutation/run.py out/mutation --again                           # those that survived, with today's tests
    python benchmarks/mutation/run.py out/mutation --again --also tests/network/test_mics.py   # and these

A module is drawn by its lines and one of its possible faults evenly, from a seed: another arithmetic operator, comparison or
boolean, a number one more or less, a condition turned round, None returned, a statement left out. Not drawn: annotations,
decorators, what an error says, ``__repr__``, and zip's ``strict``.

The quick tests of the packages run once, under coverage. A fault is then tried in a copy of the package, by the tests that
reach its line (of a line that runs at import: the module), the shortest first until they take ``--seconds`` together, and by
those that are new in the module's own file. A fault is killed where one of them fails, or takes more than ten times as long as
all of them should. Libraries are imported once, and each trial is a fork: only on Linux.

Every trial is one line of ``trials.csv``, which a second start goes on with, one at a time in a folder. Delete
``coverage.sqlite`` when tests have changed.
"""

import argparse
import compileall
import csv
import importlib
import shutil
from collections import Counter
from pathlib import Path

from faults import ROOT, sample
from reached import PACKAGES, Reached
from trial import COLUMNS, trial

LIBRARIES = (
    *("torch", "torch.distributed.tensor", "scipy.ndimage", "scipy.spatial.transform", "SimpleITK", "nibabel"),
    *("pydantic", "pydicom", "hypothesis.extra.numpy", "yaml", "typer.testing"),
)
"""Imported before the forks, each with what it needs; ``torch.testing`` takes the second of them when it is first used."""


def key(row: dict[str, str]) -> tuple[str, ...]:
    """By what a fault is known again."""
    return tuple(row[name] for name in ("module", "start", "end", "after"))


def table(rows: list[dict[str, str]]) -> str:
    """Counts by package, in Markdown."""
    lines = ["| package | faults | killed | of these by time | survived | killed, % |", "|---|---|---|---|---|---|"]
    for package in [*dict.fromkeys(row["package"] for row in rows), "all"]:
        found = Counter(row["outcome"] for row in rows if package in (row["package"], "all"))
        total, lived = found.total(), found["survived"]
        share = 100 * (total - lived) / max(total, 1)
        lines.append(f"| `{package}` | {total} | {total - lived} | {found['timeout']} | {lived} | {share:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Draw, try, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--each", type=int, default=40, help="faults of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20, help="what the tests of one fault may take")
    parser.add_argument("--tests", nargs="+", default=[f"tests/{name}" for name in PACKAGES], help="which are run")
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="FILE", help="files of tests that are run for each fault"
    )
    parser.add_argument("--again", action="store_true", help="try once more what survived")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [fault for package in arguments.packages for fault in sample(package, arguments.each, arguments.seed)]
    reached = Reached(folder, arguments.tests, arguments.also)
    shutil.rmtree(folder / "src", ignore_errors=True)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    compileall.compile_dir(folder / "src", quiet=1)
    for library in LIBRARIES:
        importlib.import_module(library)

    trials = folder / "trials.csv"
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    if trials.exists():
        with trials.open(newline="", encoding="utf-8") as file:
            rows = {key(row): row for row in csv.DictReader(file)}  # of two trials of one fault, the later
    fresh = not trials.exists()
    with trials.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for number, fault in enumerate(drawn, 1):
            known = rows.get((fault.module, str(fault.start), str(fault.end), fault.after))
            if known is None or (arguments.again and known["outcome"] == "survived"):
                row = trial(fault, reached, folder, arguments.seconds)
                writer.writerow(row)
                file.flush()
                rows[key(row)] = row
                print(
                    f"{number}/{len(drawn)} {row['outcome']} in {row['seconds']} s", fault.diff(), sep="\n", flush=True
                )

    counted = [rows[fault.module, str(fault.start), str(fault.end), fault.after] for fault in drawn]
    for fault, row in zip(drawn, counted, strict=True):
        if row["outcome"] == "survived":
            print("", f"survived {row['tests']} tests or files:", fault.diff(), sep="\n")
    print("", table(counted), sep="\n")


if __name__ == "__main__":
    main()
